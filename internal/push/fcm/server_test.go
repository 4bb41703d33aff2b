package fcm

import (
	"crypto/rand"
	"crypto/rsa"
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
	account = "rookery@project-x.iam.example"
	scope   = "https://www.googleapis.com/auth/firebase.messaging"
	grant   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// firebase speaks as Google's token endpoint and Firebase's API do.
type firebase struct {
	*httptest.Server
	t   *testing.T
	key *rsa.PrivateKey

	mu       sync.Mutex
	bearer   string // the one that is good
	tokens   int    // that were given out
	expires  int    // seconds
	answer   http.HandlerFunc
	messages []map[string]any
	protocol string
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newFirebase(t *testing.T) *firebase {
	g := &firebase{t: t, key: rsaKey(), expires: 3600}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", g.token)
	mux.HandleFunc("POST /v1/projects/project-x/messages:send", g.send)
	g.Server = httptest.NewUnstartedServer(mux)
	g.EnableHTTP2 = true
	g.StartTLS()
	t.Cleanup(g.Close)
	return g
}

// credentials are a service account's file, as the console gives it.
func (g *firebase) credentials() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(g.key)
	if err != nil {
		g.t.Fatal(err)
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project-x", "private_key_id": "kid-1", "client_email": account,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": g.URL + "/token",
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return b
}

// token is RFC 7523: the assertion has to be signed by the service account, for
// this endpoint, this scope, and now.
func (g *firebase) token(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var claims struct {
		jwt.RegisteredClaims
		Scope string `json:"scope"`
	}
	parsed, err := jwt.ParseWithClaims(r.PostFormValue("assertion"), &claims, func(*jwt.Token) (any, error) { return &g.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(g.URL+"/token"), jwt.WithIssuer(account),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil || parsed.Header["kid"] != "kid-1" || claims.Scope != scope || r.PostFormValue("grant_type") != grant ||
		claims.ExpiresAt.Sub(claims.IssuedAt.Time) > time.Hour {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"Invalid JWT"}`)
		return
	}
	g.tokens++
	g.bearer = fmt.Sprintf("ya29.%d", g.tokens)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":%q,"expires_in":%d,"token_type":"Bearer"}`, g.bearer, g.expires)
}

func (g *firebase) send(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.protocol = r.Proto
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if r.Header.Get("Authorization") != "Bearer "+g.bearer || g.bearer == "" {
		fault(w, http.StatusUnauthorized, "UNAUTHENTICATED", `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_EXPIRED"}`)
		return
	}
	var body struct {
		Message map[string]any `json:"message"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Message["token"] == nil {
		fault(w, http.StatusBadRequest, "INVALID_ARGUMENT", "")
		return
	}
	g.messages = append(g.messages, body.Message)
	if g.answer != nil {
		g.answer(w, r)
		return
	}
	fmt.Fprint(w, `{"name":"projects/project-x/messages/0:1"}`)
}

func fault(w http.ResponseWriter, code int, status, details string) {
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"error":{"code":%d,"message":"about the token t0ken-of-bob","status":%q,"details":[%s]}}`, code, status, details)
}

func fcmFault(code int, status, errorCode string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		fault(w, code, status, fmt.Sprintf(`{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":%q}`, errorCode))
	}
}

// revoke makes the token that is out worthless.
func (g *firebase) revoke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bearer = "another"
}

// set changes the server under its lock.
func (g *firebase) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}
