package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rookery-chat/rookery/chat"
)

// Identity is what a token says.
type Identity struct {
	User    chat.User
	Device  chat.Device // "" when the token is not bound to one
	Expires time.Time   // when the session ends: exp and the leeway
	Issued  time.Time   // iat and the leeway: not later than that; zero when the token does not say
}

// Options are a Verifier's settings.
type Options struct {
	KeysFile      string   // a JSON Web Key Set, "" for none
	RevokedFile   string   // a revocation list, "" for none
	Algorithms    []string // of EdDSA, ES256, HS256
	Dev           *Key     // the development key, nil for none
	TokenMaxBytes int      // longer ones are not parsed
	Leeway        time.Duration
	// CachedTokens is how many tokens are remembered whose signature was checked,
	// 32 bytes each; 0 remembers none.
	CachedTokens int
	Logger       *slog.Logger

	// OnRevoked is told of users whose tokens a reloaded list revokes, so that
	// their sessions can be ended. nil: nobody is told.
	OnRevoked func(chat.User)
}

// Validate reports all faults together.
func (o *Options) Validate() error {
	var faults []error
	for _, alg := range o.Algorithms {
		if alg != "EdDSA" && alg != "ES256" && alg != "HS256" {
			faults = append(faults, fmt.Errorf("auth: algorithm %q is none of EdDSA, ES256, HS256", alg))
		}
	}
	if len(o.Algorithms) == 0 {
		faults = append(faults, errors.New("auth: no algorithms"))
	}
	if o.KeysFile == "" && o.Dev == nil {
		faults = append(faults, errors.New("auth: neither a key set nor the development key: nobody could connect"))
	}
	if o.Dev != nil && !slices.Contains(o.Algorithms, "EdDSA") {
		faults = append(faults, errors.New("auth: the development key signs with EdDSA, which the algorithms leave out"))
	}
	if o.TokenMaxBytes <= 0 || o.Leeway < 0 || o.CachedTokens < 0 {
		faults = append(faults, errors.New("auth: the longest token must be positive, the leeway and the cached tokens not negative"))
	}
	return errors.Join(faults...)
}

// Verifier checks tokens. It is safe for concurrent use and never blocks.
type Verifier struct {
	opt    Options
	parser *jwt.Parser
	claims *jwt.Validator // of the parser's options
	state  atomic.Pointer[state]

	Stats Stats

	reload sync.Mutex // one Reload at a time; guards seen
	seen   [2]stamp
}

// Stats count signatures.
type Stats struct {
	Remembered atomic.Uint64 // of tokens that were checked before
	Checked    atomic.Uint64 // or looked at and refused
}

// state is what Reload replaces as a whole: which signatures hold goes with the
// keys.
type state struct {
	keys    keySet
	revoked *revocations
	checked *checked
}

// stamp tells whether a file changed.
type stamp struct {
	modified time.Time
	size     int64
}

// NewVerifier returns a Verifier with its files read.
func NewVerifier(o Options) (*Verifier, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	rules := []jwt.ParserOption{
		jwt.WithValidMethods(o.Algorithms), jwt.WithExpirationRequired(),
		jwt.WithLeeway(o.Leeway), jwt.WithStrictDecoding(),
	}
	v := &Verifier{opt: o, parser: jwt.NewParser(rules...), claims: jwt.NewValidator(rules...)}
	return v, v.Reload()
}

// Verify returns who a token is of. The error is CodeExpired for a token that
// was good until it expired, else CodeUnauthorized. It never holds any of the
// token.
func (v *Verifier) Verify(token string) (Identity, error) {
	if len(token) > v.opt.TokenMaxBytes {
		return Identity{}, refuse("the token has %d bytes, at most %d are read", len(token), v.opt.TokenMaxBytes)
	}
	s := v.state.Load()
	var c Claims
	if err := v.parse(s, token, &c); err != nil {
		return Identity{}, refusal(err)
	}
	return s.identity(&c, v.opt.Leeway)
}

// parse reads the claims of a token that holds now. Of one whose signature was
// checked before, that alone is left out: its bytes are the same, time is not.
func (v *Verifier) parse(s *state, token string, c *Claims) error {
	d := digestOf(token)
	if s.checked.has(&d) {
		v.Stats.Remembered.Add(1)
		if err := v.readClaims(token, c); err != nil {
			return err
		}
		return v.claims.Validate(c)
	}
	v.Stats.Checked.Add(1)
	_, err := v.parser.ParseWithClaims(token, c, s.keys.pick)
	if err == nil {
		s.checked.add(&d)
	}
	return err
}

// readClaims reads the claims of a token whose header and form were looked at when
// its signature was.
func (v *Verifier) readClaims(token string, c *Claims) error {
	_, rest, _ := strings.Cut(token, ".")
	claims, _, _ := strings.Cut(rest, ".")
	b, err := v.parser.DecodeSegment(claims)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, c)
}

// pick returns the key that a token's kid names, if it is for the token's
// algorithm. Nothing else in the header is looked at: not jwk, jku, x5c or x5u,
// by which a token would name its own key.
func (ks keySet) pick(t *jwt.Token) (any, error) {
	if t.Header["crit"] != nil {
		return nil, errCritical
	}
	kid, _ := t.Header["kid"].(string)
	k, ok := ks[kid]
	switch {
	case !ok:
		return nil, errUnknownKey
	case k.alg != t.Method.Alg():
		return nil, errOtherAlgorithm
	}
	return k.key, nil
}

var (
	errUnknownKey     = errors.New("no such kid")
	errOtherAlgorithm = errors.New("the key is for another algorithm")
	errCritical       = errors.New("crit is not understood")
)

func (s *state) identity(c *Claims, leeway time.Duration) (id Identity, err error) {
	if id.User, err = chat.NewUser(c.Tenant, c.Subject); err != nil {
		return Identity{}, refuse("the token's sub and tnt name no user")
	}
	if c.Device != "" {
		if id.Device, err = chat.NewDevice(c.Device); err != nil {
			return Identity{}, refuse("the token's dev names no device")
		}
	}
	if s.revoked.holds(id.User, c) {
		return Identity{}, refuse("the token was revoked")
	}
	id.Expires = c.ExpiresAt.Add(leeway)
	if c.IssuedAt != nil {
		id.Issued = c.IssuedAt.Add(leeway)
	}
	return id, nil
}

func refuse(format string, args ...any) error {
	return chat.Errorf(chat.CodeUnauthorized, format, args...)
}

// refusal turns the parser's error into words that say what to mend and quote
// nothing.
func refusal(err error) error {
	for _, r := range []struct {
		is   error
		text string
	}{
		{errUnknownKey, "the token's kid is in no key set here"},
		{errOtherAlgorithm, "the token's alg is not its key's"},
		{errCritical, "the token has critical headers, none is understood"},
		{jwt.ErrTokenMalformed, "the token is no JWT"},
		{jwt.ErrTokenSignatureInvalid, "the token's signature does not hold, or its alg is not taken here"},
		{jwt.ErrTokenRequiredClaimMissing, "the token has no exp"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
	} {
		if errors.Is(err, r.is) {
			return refuse("%s", r.text)
		}
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		return chat.Errorf(chat.CodeExpired, "the token expired")
	}
	return refuse("the token does not hold")
}

// Reload reads the files again. On a fault what was read before stays.
func (v *Verifier) Reload() error {
	v.reload.Lock()
	defer v.reload.Unlock()
	v.seen = v.stamps()
	keys, err1 := v.readKeys()
	revoked, err2 := v.readRevocations()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	old := v.state.Swap(&state{keys, revoked, newChecked(v.opt.CachedTokens)})
	if old == nil { // the first time
		return nil
	}
	v.opt.Logger.Info("keys reloaded", "keys", len(keys))
	if v.opt.OnRevoked == nil {
		return nil
	}
	for _, u := range revoked.newlyRevoked(old.revoked) {
		v.opt.OnRevoked(u)
	}
	return nil
}

func (v *Verifier) readKeys() (keySet, error) {
	set := keySet{}
	if v.opt.KeysFile != "" {
		b, err := readCapped(v.opt.KeysFile)
		if err == nil {
			set, err = parseKeySet(b)
		}
		if err != nil {
			return nil, fmt.Errorf("auth: %s: %w", v.opt.KeysFile, err)
		}
	}
	if dev := v.opt.Dev; dev != nil {
		if _, taken := set[dev.ID()]; taken {
			return nil, fmt.Errorf("auth: %s: kid %q is the development key's", v.opt.KeysFile, dev.ID())
		}
		set[dev.ID()] = verifyKey{jwt.SigningMethodEdDSA.Alg(), dev.Public()}
	}
	return set, nil
}

func (v *Verifier) readRevocations() (*revocations, error) {
	if v.opt.RevokedFile == "" {
		return &revocations{}, nil
	}
	b, err := readCapped(v.opt.RevokedFile)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	r, err := parseRevocations(b)
	if err != nil {
		return nil, fmt.Errorf("auth: %s: %w", v.opt.RevokedFile, err)
	}
	return r, nil
}

// Watch looks for changes of the files until ctx ends, and reloads. Faults are
// logged, and what was read before stays.
func (v *Verifier) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			v.poll()
		}
	}
}

func (v *Verifier) poll() {
	v.reload.Lock()
	changed := v.stamps() != v.seen
	v.reload.Unlock()
	if !changed {
		return
	}
	if err := v.Reload(); err != nil {
		v.opt.Logger.Error("keys not reloaded; those read before stay", "err", err)
	}
}

func (v *Verifier) stamps() (s [2]stamp) {
	for i, path := range []string{v.opt.KeysFile, v.opt.RevokedFile} {
		if info, err := os.Stat(path); path != "" && err == nil {
			s[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return s
}
