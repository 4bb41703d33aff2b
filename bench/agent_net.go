package bench

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// SecretBytes is the least length of the secret that a coordinator and agents
// on other machines share. It has to be random: who speaks with an agent sees a
// public key that is made of it.
const SecretBytes = 32

// handshakeWithin bounds how long somebody who has not shown the secret keeps an
// agent busy.
const handshakeWithin = 5 * time.Second

// ErrSecret says that the secret is shorter than SecretBytes.
var ErrSecret = fmt.Errorf("bench: the secret of agents has at least %d bytes, such as `openssl rand -hex 32` makes", SecretBytes)

// linkTLS makes the link to agents private to who knows the secret: both ends
// have the key pair that follows from it, and accept no other.
func linkTLS(secret []byte) (*tls.Config, error) {
	secret = bytes.TrimSpace(secret)
	if len(secret) < SecretBytes {
		return nil, ErrSecret
	}
	seed, err := hkdf.Key(sha256.New, secret, nil, "rookery bench agent", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // no name and no authority: VerifyConnection compares the key
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !key.Public().(ed25519.PublicKey).Equal(s.PeerCertificates[0].PublicKey) {
				return errors.New("the other end has another secret")
			}
			return nil
		},
	}, nil
}

// dialAgent opens the link to an agent on another machine.
func dialAgent(ctx context.Context, address string, secret []byte) (*agentLink, error) {
	conf, err := linkTLS(secret)
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: handshakeWithin}, Config: conf}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("bench: agent %s: %w", address, err)
	}
	a := newLink("agent "+address, conn)
	a.far = far(conn.RemoteAddr())
	return a, nil
}

// far reports whether an address is none of this machine's loopback.
func far(at net.Addr) bool {
	tcp, ok := at.(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}

// ListenAgent serves coordinators that know the secret, one at a time, until ctx
// ends. ready is told the address; refused, why somebody was not served.
func ListenAgent(ctx context.Context, address string, secret []byte, ready func(net.Addr), refused func(error)) error {
	conf, err := linkTLS(secret)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("bench: agent: %w", err)
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	ready(l.Addr())
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bench: agent: %w", err)
		}
		if err := serveOne(ctx, tls.Server(conn, conf)); err != nil && ctx.Err() == nil {
			refused(fmt.Errorf("bench: agent: %v: %w", conn.RemoteAddr(), err))
		}
	}
}

func serveOne(ctx context.Context, conn *tls.Conn) error {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(handshakeWithin))
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	conn.SetDeadline(time.Time{})
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return Agent(ctx, conn)
}
