package apns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	keyID  = "ABC123DEFG"
	teamID = "TEAM123456"
	topic  = "example.rookery.chat"
)

// apple speaks as Apple's provider API does.
type apple struct {
	*httptest.Server
	t   *testing.T
	key *ecdsa.PrivateKey

	mu       sync.Mutex
	maxAge   time.Duration // of a provider token
	answer   http.HandlerFunc
	pushes   []pushed
	refusals []string
}

type pushed struct {
	device   string
	header   http.Header
	payload  map[string]any
	protocol string
}

func newApple(t *testing.T) *apple {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &apple{t: t, key: key, maxAge: time.Hour}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /3/device/{device}", a.push)
	a.Server = httptest.NewUnstartedServer(mux)
	a.EnableHTTP2 = true
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

func (a *apple) p8() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (a *apple) sender() *Sender {
	a.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	s, err := New(Options{Key: a.p8(), KeyID: keyID, TeamID: teamID, Topic: topic, Host: a.URL, TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(s.Close)
	return s
}

// set changes the server under its lock.
func (a *apple) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *apple) push(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if code, reason := a.judge(r); code != 0 {
		a.refusals = append(a.refusals, reason)
		refuse(code, reason)(w, r)
		return
	}
	p := pushed{device: r.PathValue("device"), header: r.Header, protocol: r.Proto}
	if err := json.NewDecoder(r.Body).Decode(&p.payload); err != nil {
		refuse(400, "PayloadEmpty")(w, r)
		return
	}
	a.pushes = append(a.pushes, p)
	if a.answer != nil {
		a.answer(w, r)
	}
}

// judge looks at the provider token and the headers as Apple says it does.
func (a *apple) judge(r *http.Request) (code int, reason string) {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "bearer ")
	if !ok {
		return 403, "MissingProviderToken"
	}
	var claims jwt.RegisteredClaims
	parsed, err := jwt.ParseWithClaims(bearer, &claims, func(*jwt.Token) (any, error) { return &a.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(teamID), jwt.WithIssuedAt())
	switch {
	case err != nil || parsed.Header["kid"] != keyID || claims.IssuedAt == nil:
		return 403, "InvalidProviderToken"
	case time.Since(claims.IssuedAt.Time) > a.maxAge:
		return 403, "ExpiredProviderToken"
	case r.ProtoMajor != 2:
		return 400, "BadPath"
	case r.Header.Get("apns-topic") != topic:
		return 400, "MissingTopic"
	case r.Header.Get("apns-push-type") != "alert":
		return 400, "InvalidPushType"
	case len(r.Header.Get("apns-collapse-id")) > 64:
		return 400, "BadCollapseId"
	}
	return 0, ""
}

func refuse(code int, reason string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(code)
		if code == http.StatusGone {
			fmt.Fprintf(w, `{"reason":%q,"timestamp":1767322800000}`, reason)
			return
		}
		fmt.Fprintf(w, `{"reason":%q}`, reason)
	}
}
