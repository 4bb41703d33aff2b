package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rookery-chat/rookery/internal/certs"
)

// security makes both sides prove who they are, with the certificates of the
// moment; or, without a source, holds that both are on this machine.
type security struct {
	source *certs.Source
}

// newSecurity refuses plaintext that was not asked for.
func newSecurity(source *certs.Source, plaintext bool) (security, error) {
	switch {
	case source == nil && !plaintext:
		return security{}, errors.New("rpc: certificates are needed, or plaintext has to be set, for loopback addresses alone")
	case source != nil && plaintext:
		return security{}, errors.New("rpc: there are certificates, and plaintext is set too: choose one")
	}
	return security{source}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (s security) ClientHandshake(ctx context.Context, authority string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if s.source != nil {
		tls := s.source.Client() // it has the name to look for; the authority is an address
		return credentials.NewTLS(tls).ClientHandshake(ctx, tls.ServerName, c)
	}
	if err := onLoopback(c); err != nil {
		return nil, nil, err
	}
	return insecure.NewCredentials().ClientHandshake(ctx, authority, c)
}

// ServerHandshake implements credentials.TransportCredentials.
func (s security) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if s.source != nil {
		return credentials.NewTLS(s.source.Server()).ServerHandshake(c)
	}
	if err := onLoopback(c); err != nil {
		return nil, nil, err
	}
	return insecure.NewCredentials().ServerHandshake(c)
}

func onLoopback(c net.Conn) error {
	for _, a := range []net.Addr{c.LocalAddr(), c.RemoteAddr()} {
		tcp, ok := a.(*net.TCPAddr)
		if !ok || !tcp.IP.IsLoopback() {
			return fmt.Errorf("rpc: plaintext is for loopback alone, and %v is not", a)
		}
	}
	return nil
}

// Info implements credentials.TransportCredentials.
func (s security) Info() credentials.ProtocolInfo {
	if s.source == nil {
		return insecure.NewCredentials().Info()
	}
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (s security) Clone() credentials.TransportCredentials { return s }

// OverrideServerName implements credentials.TransportCredentials.
func (security) OverrideServerName(string) error {
	return errors.New("rpc: the name is the certificates' setting")
}
