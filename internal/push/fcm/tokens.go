package fcm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/oauth2"
)

// authorized puts an access token on every request, and forgets one that the
// provider refuses.
type authorized struct {
	base   http.RoundTripper
	tokens *tokens
}

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := a.tokens.get(r.Context())
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	token.SetAuthHeader(r)
	response, err := a.base.RoundTrip(r)
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		a.tokens.forget(token)
	}
	return response, err
}

// tokens keeps an access token until it expires. It is fetched once for all who
// wait for it; each waits no longer than its own context.
type tokens struct {
	fetch func() (*oauth2.Token, error)

	mu     sync.Mutex
	good   *oauth2.Token
	flight *flight // the fetch under way, if there is one
}

type flight struct {
	done  chan struct{}
	token *oauth2.Token
	err   error
}

func (t *tokens) get(ctx context.Context) (*oauth2.Token, error) {
	t.mu.Lock()
	if t.good.Valid() {
		defer t.mu.Unlock()
		return t.good, nil
	}
	f := t.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		t.flight = f
		go t.land(f)
	}
	t.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t *tokens) land(f *flight) {
	f.token, f.err = t.fetch()
	if e, ok := errors.AsType[*oauth2.RetrieveError](f.err); ok {
		var answer struct { // RFC 6749 section 5.2
			Error string `json:"error"`
		}
		_ = json.Unmarshal(e.Body, &answer)
		f.err = fmt.Errorf("no access token: %s %s", e.Response.Status, answer.Error)
	}
	t.mu.Lock()
	t.good, t.flight = f.token, nil
	t.mu.Unlock()
	close(f.done)
}

// forget drops a token, unless there is another one by now.
func (t *tokens) forget(token *oauth2.Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.good == token {
		t.good = nil
	}
}
