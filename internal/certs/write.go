package certs

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
)

// write signs a certificate and writes it and its key, the key first: who reads
// between the two finds that they do not fit, and reads again later.
func write(t, parent *x509.Certificate, key, signer *ecdsa.PrivateKey, certPath, keyPath string) (der []byte, err error) {
	der, err = x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := replace(keyPath, "PRIVATE KEY", secret); err != nil {
		return nil, err
	}
	return der, replace(certPath, "CERTIFICATE", der)
}

// replace puts a file in the place of another, if there is one, as a whole.
func replace(path, kind string, der []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// serial returns 127 random bits.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // it does not fail
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
