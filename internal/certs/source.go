package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files are the paths of a CA's certificates and of one's own certificate with
// its key, in PEM. A side that asks nobody for a certificate needs no CA.
type Files struct {
	CA, Cert, Key string
}

// Source has the material of both sides of a connection. It looks at the files
// at each handshake and reads them again when they have changed; material that
// cannot be read, or does not fit together, changes nothing.
type Source struct {
	files  Files
	name   string
	logger *slog.Logger

	mu    sync.Mutex
	state [3]stamp
	pool  *x509.CertPool
	cert  tls.Certificate
}

// stamp is how a file looks from outside.
type stamp struct {
	changed time.Time
	bytes   int64
}

// Open reads the files. name is the DNS name that the other side's certificate
// has to carry; empty is PeerName.
func Open(f Files, name string, logger *slog.Logger) (*Source, error) {
	if name == "" {
		name = PeerName
	}
	if logger == nil {
		logger = slog.Default()
	}
	s := &Source{files: f, name: name, logger: logger, state: look(f)}
	if err := s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

func look(f Files) (state [3]stamp) {
	for i, path := range []string{f.CA, f.Cert, f.Key} {
		if info, err := os.Stat(path); err == nil {
			state[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return state
}

// read reads all of the files and keeps what they hold, if all of it fits.
func (s *Source) read() error {
	pool := x509.NewCertPool()
	if s.files.CA != "" {
		ca, err := os.ReadFile(s.files.CA)
		if err != nil {
			return fmt.Errorf("certs: the CA: %w", err)
		}
		if !pool.AppendCertsFromPEM(ca) {
			return fmt.Errorf("certs: the CA: %s has no certificate in PEM", s.files.CA)
		}
	}
	cert, err := tls.LoadX509KeyPair(s.files.Cert, s.files.Key)
	if err != nil {
		return fmt.Errorf("certs: %s and %s: %w", s.files.Cert, s.files.Key, err)
	}
	s.pool, s.cert = pool, cert
	return nil
}

// current returns the newest material that fits together.
func (s *Source) current() (*x509.CertPool, tls.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := look(s.files); now != s.state {
		if err := s.read(); err != nil {
			s.logger.Warn("certificates changed and cannot be read: the ones before them stay in use", "err", err)
		} else {
			s.logger.Info("certificates were read again", "cert", s.files.Cert, "ends", s.cert.Leaf.NotAfter)
			s.state = now
		}
	}
	return s.pool, s.cert
}

// Client returns the settings of a side that connects, for one handshake: TLS
// 1.3, and the name in the server's certificate.
func (s *Source) Client() *tls.Config {
	pool, cert := s.current()
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{cert}, ServerName: s.name}
}

// Server returns the settings of a side that is connected to, for one
// handshake: TLS 1.3, and the name in the client's certificate.
func (s *Source) Server() *tls.Config {
	pool, cert := s.current()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, Certificates: []tls.Certificate{cert},
		SessionTicketsDisabled: true, // a resumed session would not be verified again
		VerifyConnection:       s.verifyClient,
	}
}

// Public returns the settings of a side that anybody connects to: TLS 1.2 or
// 1.3, and the application protocols. The files are looked at for each
// handshake.
func (s *Source) Public(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			_, cert := s.current()
			return &cert, nil
		},
	}
}

func (s *Source) verifyClient(c tls.ConnectionState) error {
	if len(c.PeerCertificates) == 0 {
		return errors.New("certs: the client showed no certificate")
	}
	return c.PeerCertificates[0].VerifyHostname(s.name)
}
