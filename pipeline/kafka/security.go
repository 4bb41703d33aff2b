package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// TLS names the files of a TLS connection; an empty name is the system's roots,
// and no certificate of our own.
type TLS struct {
	CAFile, CertFile, KeyFile string
	ServerName                string // if it is not the broker's host
}

// config reads the files.
func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("kafka log: the authorities brokers are checked against: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka log: %s has no certificate in PEM form", t.CAFile)
		}
	}
	if t.CertFile == "" && t.KeyFile == "" {
		return c, nil
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("kafka log: our certificate: %w", err)
	}
	c.Certificates = []tls.Certificate{cert}
	return c, nil
}

// Mechanisms of SASL.
const (
	Plain       = "plain"
	ScramSHA256 = "scram-sha-256"
	ScramSHA512 = "scram-sha-512"
)

// SASL is a user and its password, which stands in a file. The file is read
// again at each new connection, so a password may be changed while running.
type SASL struct {
	Mechanism    string // Plain, ScramSHA256 or ScramSHA512
	User         string
	PasswordFile string
}

func (s *SASL) validate() error {
	var faults []error
	if s.Mechanism != Plain && s.Mechanism != ScramSHA256 && s.Mechanism != ScramSHA512 {
		faults = append(faults, fmt.Errorf("kafka log: SASL mechanism %q is not %s, %s or %s", s.Mechanism, Plain, ScramSHA256, ScramSHA512))
	}
	if s.User == "" {
		faults = append(faults, errors.New("kafka log: SASL has no user"))
	}
	if s.PasswordFile == "" {
		faults = append(faults, errors.New("kafka log: SASL has no password file"))
	}
	return errors.Join(faults...)
}

func (s *SASL) password() (string, error) {
	b, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("kafka log: the password of %s: %w", s.User, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

func (s *SASL) option() kgo.Opt {
	scramAuth := func(context.Context) (scram.Auth, error) {
		pass, err := s.password()
		return scram.Auth{User: s.User, Pass: pass}, err
	}
	switch s.Mechanism {
	case ScramSHA256:
		return kgo.SASL(scram.Sha256(scramAuth))
	case ScramSHA512:
		return kgo.SASL(scram.Sha512(scramAuth))
	}
	return kgo.SASL(plain.Plain(func(context.Context) (plain.Auth, error) {
		pass, err := s.password()
		return plain.Auth{User: s.User, Pass: pass}, err
	}))
}
