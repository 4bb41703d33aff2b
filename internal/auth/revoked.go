package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// revocations is the revocation list: single tokens by jti, and of users all
// tokens that were issued before a time.
//
//	{"tokens": ["a jti", …], "users": {"alice": 1767225600, "acme/bob": …}}
//
// Times are in seconds since 1970. A token without iat counts as issued before
// any time.
type revocations struct {
	tokens map[string]bool
	users  map[chat.User]int64
}

func parseRevocations(b []byte) (*revocations, error) {
	var file struct {
		Tokens []string            `json:"tokens"`
		Users  map[chat.User]int64 `json:"users"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("no revocation list: %w", err)
	}
	r := &revocations{tokens: map[string]bool{}, users: file.Users}
	for _, jti := range file.Tokens {
		r.tokens[jti] = true
	}
	for u := range r.users {
		if _, err := chat.NewUser(u.Tenant(), u.Name()); err != nil {
			return nil, fmt.Errorf("users: %q: %w", u, err)
		}
	}
	return r, nil
}

// holds reports whether the list has a token.
func (r *revocations) holds(user chat.User, c *Claims) bool {
	if c.ID != "" && r.tokens[c.ID] {
		return true
	}
	before, ok := r.users[user]
	return ok && (c.IssuedAt == nil || c.IssuedAt.Before(time.Unix(before, 0)))
}

// newlyRevoked lists the users whose time is later than in the list before.
func (r *revocations) newlyRevoked(old *revocations) []chat.User {
	var users []chat.User
	for u, before := range r.users {
		if was, ok := old.users[u]; !ok || was < before {
			users = append(users, u)
		}
	}
	return users
}
