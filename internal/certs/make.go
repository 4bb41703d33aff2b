// Package certs makes certificates with which processes know each other, for a
// start, and reads them, and those that others made, again when they change.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// PeerName is the DNS name that the certificate of every process carries, and
// that both sides of a connection look for.
const PeerName = "rookery.internal"

// How long what is made holds.
const (
	CALife   = 10 * 365 * 24 * time.Hour
	CertLife = 365 * 24 * time.Hour
	backdate = 5 * time.Minute // for clocks that are behind
)

// Request says what to make.
type Request struct {
	Dir   string   // made when it is not there; holds ca.pem and ca.key, and two files a name
	Name  string   // of the process; the files' name and a DNS name of the certificate
	Hosts []string // further DNS names and IP addresses
	Force bool     // overwrite the certificate and key of this name; the CA is never overwritten
}

// Made tells what was made.
type Made struct {
	Files  Files
	Ends   time.Time
	CAMade bool // false: the CA was there
	CAEnds time.Time
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

func (r *Request) check() error {
	var faults []error
	if r.Dir == "" {
		faults = append(faults, errors.New("a folder is needed"))
	}
	if !nameForm.MatchString(r.Name) || r.Name == "ca" {
		faults = append(faults, fmt.Errorf("%q is no name for a certificate: 1 to 63 lower-case letters, digits, '-' and '.', and not ca", r.Name))
	}
	for _, h := range r.Hosts {
		if h == "" || net.ParseIP(h) == nil && !hostForm.MatchString(h) {
			faults = append(faults, fmt.Errorf("%q is neither a host's name nor an IP address; a port does not belong to it", h))
		}
	}
	return errors.Join(faults...)
}

var hostForm = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// Make makes a certificate for server and client use with its key, and before
// that the CA, if the folder has none. Keys are ECDSA P-256.
func Make(r Request) (*Made, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, err
	}
	m := &Made{Files: Files{
		CA: filepath.Join(r.Dir, "ca.pem"), Cert: filepath.Join(r.Dir, r.Name+".pem"), Key: filepath.Join(r.Dir, r.Name+".key"),
	}}
	if !r.Force {
		for _, path := range []string{m.Files.Cert, m.Files.Key} {
			if _, err := os.Lstat(path); err == nil {
				return nil, fmt.Errorf("%s is there already: --force overwrites it", path)
			}
		}
	}
	ca, made, err := openCA(m.Files.CA, filepath.Join(r.Dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	m.CAMade, m.CAEnds = made, ca.cert.NotAfter
	m.Ends, err = ca.issue(&r, m.Files)
	return m, err
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// openCA reads the CA, or makes it when neither of its files is there.
func openCA(certPath, keyPath string) (a *authority, made bool, err error) {
	certPEM, err1 := os.ReadFile(certPath)
	keyPEM, err2 := os.ReadFile(keyPath)
	switch {
	case errors.Is(err1, fs.ErrNotExist) && errors.Is(err2, fs.ErrNotExist):
		a, err = makeCA(certPath, keyPath)
		return a, true, err
	case err1 != nil || err2 != nil:
		return nil, false, fmt.Errorf("a CA is %s and %s together: %w", certPath, keyPath, errors.Join(err1, err2))
	}
	a, err = parseCA(certPEM, keyPEM)
	if err != nil {
		err = fmt.Errorf("the CA in %s and %s cannot be used: %w", certPath, keyPath, err)
	}
	return a, false, err
}

func parseCA(certPEM, keyPEM []byte) (*authority, error) {
	c, k := block(certPEM), block(keyPEM)
	cert, err1 := x509.ParseCertificate(c)
	key, err2 := x509.ParsePKCS8PrivateKey(k)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	switch {
	case !ok:
		return nil, fmt.Errorf("its key is %T, not ECDSA", key)
	case !ec.PublicKey.Equal(cert.PublicKey):
		return nil, errors.New("the key is not the certificate's")
	case !cert.IsCA:
		return nil, errors.New("the certificate is no CA's")
	case time.Now().After(cert.NotAfter):
		return nil, fmt.Errorf("it ended on %s: move it away and make a new one", cert.NotAfter.Format(time.DateOnly))
	}
	return &authority{cert, ec}, nil
}

func block(b []byte) []byte {
	if p, _ := pem.Decode(b); p != nil {
		return p.Bytes
	}
	return nil
}

func makeCA(certPath, keyPath string) (*authority, error) {
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Rookery CA " + now.Format(time.DateOnly)},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(CALife), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := write(t, t, key, key, certPath, keyPath)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert, key}, err
}

// issue makes the certificate of a request. It does not outlive the CA.
func (a *authority) issue(r *Request, f Files) (ends time.Time, err error) {
	now := time.Now()
	ends = now.Add(CertLife)
	if ends.After(a.cert.NotAfter) {
		ends = a.cert.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: r.Name},
		NotBefore: now.Add(-backdate), NotAfter: ends, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{PeerName, r.Name},
	}
	for _, h := range r.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ends, err
	}
	_, err = write(t, a.cert, key, a.key, f.Cert, f.Key)
	return ends, err
}
