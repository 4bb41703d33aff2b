package e2ee

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/crypto/goolm/account"
	"maunium.net/go/mautrix/crypto/goolm/session"
	"maunium.net/go/mautrix/id"

	"github.com/rookery-chat/rookery/internal/pubkey"
	"github.com/rookery-chat/rookery/packet"
)

// olmSessions is how many Olm sessions with a device are kept: two devices that
// begin at the same time have two.
const olmSessions = 4

// b64 is how the library writes keys and messages.
var b64 = base64.RawStdEncoding

// device is the public side of a device, as its user's identity signed it.
type device struct {
	User, Device   string
	Curve, Signing []byte
}

// name tells a device with its keys from all others.
func (d *device) name() string { return d.User + "/" + d.Device + "/" + b64.EncodeToString(d.Curve) }

// olmMachine is this device's Olm account and its sessions. Guarded by
// Client.mu; what it changes is in the vault when a method returns, and durable
// after the vault's sync.
type olmMachine struct {
	user, device string
	vault        *vault
	account      *account.Account
	identity     ed25519.PrivateKey // the user's
}

func openOlm(v *vault, user, name string, identity ed25519.PrivateKey) (*olmMachine, error) {
	m := &olmMachine{user: user, device: name, vault: v, identity: identity}
	if b := v.get("account"); b != nil {
		m.account = &account.Account{}
		return m, guard(func() error { return m.account.UnpickleLibOlm(b) })
	}
	var err error
	if m.account, err = account.NewAccount(); err == nil {
		err = m.account.GenFallbackKey()
	}
	if err == nil {
		m.keepAccount()
	}
	return m, err
}

func (m *olmMachine) keepAccount() { m.vault.set("account", m.account.PickleLibOlm()) }

func (m *olmMachine) curve() []byte   { return m.account.IdKeys.Curve25519.PublicKey }
func (m *olmMachine) signing() []byte { return m.account.IdKeys.Ed25519.PublicKey }

// put is what this device publishes: its keys, one-time keys that are not known
// to be published, and the fallback key.
func (m *olmMachine) put() (packet.KeysPut, error) {
	d := pubkey.Device{User: m.user, Device: m.device, Curve: m.curve(), Signing: m.signing()}
	p := packet.KeysPut{
		Identity: m.identity.Public().(ed25519.PublicKey), Curve: d.Curve, Signing: d.Signing, Signature: ed25519.Sign(m.identity, d.Signed()),
	}
	var err error
	for _, k := range m.account.OTKeys {
		if !k.Published && err == nil {
			var signed packet.PreKey
			signed, err = m.sign(k.ID, k.Key.PublicKey, false)
			p.OneTime = append(p.OneTime, signed)
		}
	}
	slices.SortFunc(p.OneTime, func(a, b packet.PreKey) int { return cmp.Compare(a.ID, b.ID) })
	if f := m.account.CurrentFallbackKey; err == nil {
		p.Fallback, err = m.sign(f.ID, f.Key.PublicKey, true)
	}
	return p, err
}

// sign signs a key of the account. The library counts ids from 0, the wire from 1.
func (m *olmMachine) sign(id uint32, key []byte, fallback bool) (packet.PreKey, error) {
	k := pubkey.PreKey{ID: uint64(id) + 1, Key: key, Fallback: fallback}
	signature, err := m.account.Sign(k.Signed(m.user, m.device))
	if err == nil {
		k.Signature, err = b64.DecodeString(string(signature))
	}
	return packet.PreKey{ID: k.ID, Key: k.Key, Signature: k.Signature}, err
}

// more makes one-time keys until n of them wait to be published.
func (m *olmMachine) more(n int) error {
	for _, k := range m.account.OTKeys {
		if !k.Published {
			n--
		}
	}
	if n <= 0 {
		return nil
	}
	defer m.keepAccount()
	return m.account.GenOneTimeKeys(uint(n))
}

// published says that the server has everything put.
func (m *olmMachine) published() {
	m.account.MarkKeysAsPublished()
	m.keepAccount()
}

func (m *olmMachine) sessions(d *device) ([]*session.OlmSession, error) {
	var pickles [][]byte
	if b := m.vault.get("olm/" + d.name()); b != nil {
		if err := json.Unmarshal(b, &pickles); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
		}
	}
	var list []*session.OlmSession
	for _, p := range pickles {
		s := session.NewOlmSession()
		if err := guard(func() error { return s.UnpickleLibOlm(p) }); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// keep stores the sessions with a device, the one to be used next first.
func (m *olmMachine) keep(d *device, list []*session.OlmSession) {
	var pickles [][]byte
	for _, s := range list[:min(len(list), olmSessions)] {
		pickles = append(pickles, s.PickleLibOlm())
	}
	b, err := json.Marshal(pickles)
	if err != nil {
		panic(err) // bytes can always be written
	}
	m.vault.set("olm/"+d.name(), b)
}

func (m *olmMachine) hasSession(d *device) bool { return m.vault.get("olm/"+d.name()) != nil }

// begin makes a session with a key that the server handed out, which is checked
// here.
func (m *olmMachine) begin(d *device, c *packet.ClaimedKey) error {
	k := pubkey.PreKey{ID: c.PreKey.ID, Key: c.PreKey.Key, Signature: c.PreKey.Signature, Fallback: c.Fallback}
	if err := k.Check(d.User, d.Device, d.Signing); err != nil {
		return err
	}
	list, err := m.sessions(d)
	if err != nil {
		return err
	}
	s, err := m.account.NewOutboundSession(id.Curve25519(b64.EncodeToString(d.Curve)), id.Curve25519(b64.EncodeToString(k.Key)))
	if err != nil {
		return err
	}
	m.keep(d, append([]*session.OlmSession{s.(*session.OlmSession)}, list...))
	return nil
}

// encrypt encrypts for a device with which there is a session.
func (m *olmMachine) encrypt(d *device, plain []byte) (p part, err error) {
	list, err := m.sessions(d)
	if err != nil || len(list) == 0 {
		return p, fmt.Errorf("no session with %s of %s: %w", d.Device, d.User, err)
	}
	typ, body, err := list[0].Encrypt(plain)
	if err != nil {
		return p, err
	}
	m.keep(d, list)
	raw, err := b64.DecodeString(string(body))
	return part{own: d.User == m.user, device: d.Device, olm: uint8(typ), body: raw}, err
}

// decrypt decrypts what a device encrypted. The state changes only when it did.
func (m *olmMachine) decrypt(d *device, p part) (plain []byte, err error) {
	list, err := m.sessions(d)
	if err != nil {
		return nil, err
	}
	body := b64.EncodeToString(p.body)
	for i, s := range list {
		if p.olm == uint8(id.OlmMsgTypePreKey) {
			same := false
			if err := guard(func() (err error) { same, err = s.MatchesInboundSession(body); return err }); err != nil || !same {
				continue
			}
		}
		if err = guard(func() (err error) { plain, err = s.Decrypt(body, id.OlmMsgType(p.olm)); return err }); err == nil {
			m.keep(d, append([]*session.OlmSession{s}, slices.Delete(list, i, i+1)...))
			return plain, nil
		}
		if p.olm == uint8(id.OlmMsgTypePreKey) {
			return nil, err
		}
	}
	if p.olm != uint8(id.OlmMsgTypePreKey) {
		return nil, fmt.Errorf("no session with %s of %s decrypts it", d.Device, d.User)
	}
	return m.accept(d, list, body)
}

// accept begins the session that a device began.
func (m *olmMachine) accept(d *device, list []*session.OlmSession, body string) (plain []byte, err error) {
	theirs := id.Curve25519(b64.EncodeToString(d.Curve))
	err = guard(func() error {
		s, err := m.account.NewInboundSessionFrom(&theirs, body)
		if err != nil {
			return err
		}
		if plain, err = s.Decrypt(body, id.OlmMsgTypePreKey); err != nil {
			return err
		}
		if err := m.account.RemoveOneTimeKeys(s); err != nil {
			return err
		}
		list = append([]*session.OlmSession{s.(*session.OlmSession)}, list...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.keepAccount()
	m.keep(d, list)
	return plain, nil
}

// acceptStranger begins the session that a device began of which nothing is known
// but its name. Its Signing is what it says inside.
func (m *olmMachine) acceptStranger(name string, p part) (d device, plain []byte, err error) {
	body := b64.EncodeToString(p.body)
	d = device{User: m.user, Device: name}
	err = guard(func() error {
		s, err := m.account.NewInboundSession(body)
		if err == nil {
			d.Curve = slices.Clone([]byte(s.(*session.OlmSession).AliceIdentityKey))
			err = pubkey.CheckCurve25519(d.Curve)
		}
		return err
	})
	if err == nil {
		plain, err = m.accept(&d, nil, body)
	}
	return d, plain, err
}

// guard turns a panic of the library, on bytes of somebody else, into an error.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the library gave up: %v", r)
		}
	}()
	return f()
}
