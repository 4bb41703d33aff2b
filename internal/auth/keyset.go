package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFileBytes caps the key set's and the revocation list's file.
const maxFileBytes = 16 << 20

// minSecretBytes is the shortest HS256 secret that is taken, the size of its
// hash (RFC 7518 section 3.2).
const minSecretBytes = 32

// verifyKey checks signatures of one algorithm and no other.
type verifyKey struct {
	alg string
	key any // ed25519.PublicKey, *ecdsa.PublicKey or []byte
}

// keySet maps kid to key.
type keySet map[string]verifyKey

// jwk is a JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037). Members that
// are not here are ignored, as the RFC says.
type jwk struct {
	Kid string `json:"kid"`
	Kty string `json:"kty"`
	Alg string `json:"alg"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
	K   string `json:"k"`
	D   string `json:"d"`
}

// parseKeySet reads a JSON Web Key Set. Every key needs a kid of its own, and
// fits one algorithm: OKP Ed25519 is EdDSA, EC P-256 is ES256, oct is HS256.
// The error tells of every faulty key.
func parseKeySet(b []byte) (keySet, error) {
	var file struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("no JSON Web Key Set: %w", err)
	}
	set := keySet{}
	var faults []error
	for i, j := range file.Keys {
		key, err := j.verifyKey()
		switch {
		case err != nil:
		case j.Kid == "":
			err = errors.New("no kid")
		case set[j.Kid].alg != "":
			err = errors.New("a second key of this kid")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("key %d (kid %q): %w", i, j.Kid, err))
			continue
		}
		set[j.Kid] = key
	}
	if len(file.Keys) == 0 {
		faults = append(faults, errors.New("no keys"))
	}
	return set, errors.Join(faults...)
}

func (j *jwk) verifyKey() (k verifyKey, err error) {
	if j.D != "" {
		return k, errors.New("it holds a private key; the server needs the public part alone")
	}
	switch {
	case j.Kty == "OKP" && j.Crv == "Ed25519":
		k.alg = "EdDSA"
		k.key, err = j.ed25519()
	case j.Kty == "EC" && j.Crv == "P-256":
		k.alg = "ES256"
		k.key, err = j.p256()
	case j.Kty == "oct":
		k.alg = "HS256"
		k.key, err = j.secret()
	default:
		return k, fmt.Errorf("kty %q, crv %q: keys are OKP Ed25519, EC P-256 or oct", j.Kty, j.Crv)
	}
	if err == nil && j.Alg != "" && j.Alg != k.alg && !(k.alg == "EdDSA" && j.Alg == "Ed25519") {
		err = fmt.Errorf("alg %q does not fit its kty, which is for %s", j.Alg, k.alg)
	}
	return k, err
}

func (j *jwk) ed25519() (ed25519.PublicKey, error) {
	x, err := base64.RawURLEncoding.DecodeString(j.X)
	if err != nil || len(x) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("x is not %d bytes in base64url", ed25519.PublicKeySize)
	}
	return x, nil
}

func (j *jwk) p256() (*ecdsa.PublicKey, error) {
	x, err1 := base64.RawURLEncoding.DecodeString(j.X)
	y, err2 := base64.RawURLEncoding.DecodeString(j.Y)
	if err1 != nil || err2 != nil || len(x) != 32 || len(y) != 32 {
		return nil, errors.New("x and y are not 32 bytes each in base64url")
	}
	point := append(append([]byte{4}, x...), y...) // SEC 1, uncompressed
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

func (j *jwk) secret() ([]byte, error) {
	k, err := base64.RawURLEncoding.DecodeString(j.K)
	if err != nil || len(k) < minSecretBytes {
		return nil, fmt.Errorf("k is not at least %d bytes in base64url", minSecretBytes)
	}
	return k, nil
}

// readCapped reads a file of at most maxFileBytes.
func readCapped(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(b) > maxFileBytes {
		err = fmt.Errorf("larger than %d bytes", maxFileBytes)
	}
	return b, err
}
