package e2ee

import (
	"bytes"
	"cmp"
	"crypto/ecdh"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/crypto/goolm/crypto"
	"maunium.net/go/mautrix/crypto/goolm/megolm"
	"maunium.net/go/mautrix/crypto/goolm/session"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/pubkey"
)

var update = flag.Bool("update", false, "write docs/vectors/encryption.json")

const vectorsFile = "../../docs/vectors/encryption.json"

// vectors are what every implementation makes of the same bytes. All bytes are
// hex.
type vectors struct {
	Signed       []signedVector     `json:"signed"`
	Weak         weakVector         `json:"weak"`
	Safety       []safetyVector     `json:"safety"`
	LinkCodes    []linkVector       `json:"link_codes"`
	BadLinkCodes []string           `json:"bad_link_codes"`
	Contents     []contentVector    `json:"contents"`
	Shares       []shareVector      `json:"shares"`
	Told         []toldVector       `json:"told"`
	Refused      []refusedVector    `json:"refused"`
	Messages     []messageVector    `json:"messages"`
	Attachments  []attachmentVector `json:"attachments"`
}

type signedVector struct {
	What      string `json:"what"` // device, one-time or fallback
	User      string `json:"user"`
	Device    string `json:"device"`
	ID        uint64 `json:"id,omitempty"`
	Curve     string `json:"curve25519"`
	Signing   string `json:"ed25519,omitempty"`
	Signed    string `json:"signed"`
	By        string `json:"by"`
	Signature string `json:"signature"`
}

type weakVector struct {
	Curve   []string `json:"curve25519"`
	Signing []string `json:"ed25519"`
}

type safetyVector struct {
	A            string `json:"a"`
	IdentityA    string `json:"identity_a"`
	FingerprintA string `json:"fingerprint_a"`
	B            string `json:"b"`
	IdentityB    string `json:"identity_b"`
	Digits       string `json:"digits"`
	QR           string `json:"qr"`
}

type linkVector struct {
	Typed  string `json:"typed"`
	Code   string `json:"code"`
	Print  string `json:"fingerprint"`
	Device string `json:"device"`
	Secret string `json:"secret"`
}

type contentVector struct {
	Hex     string `json:"hex"`
	Session string `json:"session"`
	Device  string `json:"device"`
	Megolm  string `json:"megolm"`
}

type shareVector struct {
	Hex     string       `json:"hex"`
	Device  string       `json:"device"`
	Session string       `json:"session"`
	Parts   []partVector `json:"parts"`
}

type partVector struct {
	Own    bool   `json:"own"`
	Device string `json:"device"`
	Type   uint8  `json:"olm_type"`
	Olm    string `json:"olm"`
}

type toldVector struct {
	Hex        string `json:"hex"`
	Kind       uint8  `json:"kind"`
	From       string `json:"from"`
	FromDevice string `json:"from_device"`
	To         string `json:"to"`
	ToDevice   string `json:"to_device"`
	FromKey    string `json:"from_ed25519"`
	ToKey      string `json:"to_ed25519"`
	Peer       string `json:"peer"`
	Session    string `json:"session"`
	Index      uint32 `json:"index"`
	Key        string `json:"key"`
}

type refusedVector struct {
	As  string `json:"as"` // content, share or told
	Hex string `json:"hex"`
	Why string `json:"why"`
}

// messageVector is content of suite 1 that came, and the session's key as a
// sender exported it. The messages of one key come in their order.
type messageVector struct {
	Name    string `json:"name"`
	Key     string `json:"key"`
	Device  string `json:"device"` // whose key it is
	Peer    string `json:"peer"`   // what it writes to
	ID      string `json:"id"`
	From    string `json:"from"`
	To      string `json:"to"`
	Place   uint64 `json:"place"`
	Content string `json:"content"`
	Error   string `json:"error,omitempty"` // forged, replayed or moved; else
	Type    uint8  `json:"type,omitempty"`
	Body    string `json:"body,omitempty"`
}

type attachmentVector struct {
	Name   string `json:"name"`
	Key    string `json:"key"` // an age identity
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Sealed string `json:"sealed"`
	File   string `json:"file"` // empty: it is refused
}

func h(b []byte) string { return hex.EncodeToString(b) }

// run is n bytes that count up from a first one.
func run(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func signingOf(first byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(run(first, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) }

func curveOf(first byte) []byte {
	private, err := ecdh.X25519().NewPrivateKey(run(first, curveBytes))
	if err != nil {
		panic(err)
	}
	return private.PublicKey().Bytes()
}

// makeVectors makes all that is the same each time, which attachments are not.
func makeVectors(t *testing.T) (v vectors) {
	identity, device := signingOf(1), signingOf(64)
	d := pubkey.Device{User: "alice", Device: "phone", Curve: curveOf(128), Signing: public(device)}
	v.Signed = append(v.Signed, signedVector{What: "device", User: d.User, Device: d.Device, Curve: h(d.Curve), Signing: h(d.Signing),
		Signed: h(d.Signed()), By: h(public(identity)), Signature: h(ed25519.Sign(identity, d.Signed()))})
	for i, what := range []string{"one-time", "fallback"} {
		k := pubkey.PreKey{ID: 7 << (40 * i), Key: curveOf(160 + byte(i)), Fallback: what == "fallback"}
		signed := k.Signed(d.User, d.Device)
		v.Signed = append(v.Signed, signedVector{What: what, User: d.User, Device: d.Device, ID: k.ID, Curve: h(k.Key),
			Signed: h(signed), By: h(d.Signing), Signature: h(ed25519.Sign(device, signed))})
	}
	none := h(make([]byte, 32))
	v.Weak.Curve = []string{none, "01" + none[2:], "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"}
	v.Weak.Signing = []string{none, "01" + none[2:], "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"}

	of := map[string][]byte{"alice": public(identity), "bob": public(signingOf(2)), "carol": public(signingOf(3))}
	for _, users := range [][2]string{{"alice", "bob"}, {"bob", "alice"}, {"carol", "bob"}} {
		a, b := users[0], users[1]
		s := safetyOf(a, of[a], b, of[b])
		v.Safety = append(v.Safety, safetyVector{a, h(of[a]), h(fingerprint(a, of[a])), b, h(of[b]), s.Digits, s.QR()})
	}

	code := linkCode{print: fingerprint("alice", of["alice"])[:linkPrintBytes], device: d.Curve[:linkDeviceBytes], secret: run(0xf0, linkSecretBytes)}
	text := code.String()
	for _, typed := range []string{text, " " + strings.ToLower(strings.ReplaceAll(text, "-", " ")) + "\n", strings.NewReplacer("O", "0", "I", "1", "B", "8").Replace(text)} {
		v.LinkCodes = append(v.LinkCodes, linkVector{typed, text, h(code.print), h(code.device), h(code.secret)})
	}
	v.BadLinkCodes = []string{"", text[1:], text + "-AAAAA", "9" + text[1:], "B" + text[1:]}

	first := run(200, sessionBytes)
	content := sealed{session: sessionID(first), device: "phone", megolm: run(0, 20)}
	v.Contents = append(v.Contents, contentVector{h(content.append(nil)), h(first), "phone", h(content.megolm)})
	s := share{device: "phone", session: sessionID(first), parts: []part{{own: false, device: "tablet", olm: 0, body: run(1, 9)}, {own: true, device: "a laptop", olm: 1, body: run(10, 3)}}}
	shown := shareVector{Hex: h(s.append(nil)), Device: s.device, Session: h(first)}
	for _, p := range s.parts {
		shown.Parts = append(shown.Parts, partVector{p.own, p.device, p.olm, h(p.body)})
	}
	notice := share{device: "phone"}
	v.Shares = append(v.Shares, shown, shareVector{Hex: h(notice.append(nil)), Device: notice.device, Session: h(notice.session[:]), Parts: []partVector{}})
	x := told{kind: tellKey, from: "alice", fromDevice: "phone", to: "bob", toDevice: "tablet", fromKey: public(device), toKey: public(signingOf(65)), peer: "bob", session: sessionID(first), index: 258, key: run(3, 5)}
	v.Told = append(v.Told, toldVector{h(x.append(nil)), x.kind, x.from, x.fromDevice, x.to, x.toDevice, h(x.fromKey), h(x.toKey), x.peer, h(first), x.index, h(x.key)})
	for as, b := range map[string][]byte{"content": content.append(nil), "share": s.append(nil), "told": x.append(nil)} {
		newer, short := append([]byte{2}, b[1:]...), b[:sessionBytes]
		v.Refused = append(v.Refused, refusedVector{as, h(newer), "another version"}, refusedVector{as, h(short), "cut off"})
	}
	v.Refused = append(v.Refused, refusedVector{"share", h(append(s.append(nil), 0)), "something behind it"})
	slices.SortFunc(v.Refused, func(a, b refusedVector) int { return cmp.Or(cmp.Compare(a.As, b.As), cmp.Compare(a.Why, b.Why)) })
	v.Messages = makeMessages(t)
	return v
}

// makeMessages are messages of one session of alice's phone to bob, as they came to him.
func makeMessages(t *testing.T) (all []messageVector) {
	t.Helper()
	var seed [megolm.RatchetParts * megolm.RatchetPartLength]byte
	copy(seed[:], run(17, len(seed)))
	ratchet, err := megolm.New(0, seed)
	if err != nil {
		t.Fatal(err)
	}
	out := &outbound{ratchet: &session.MegolmOutboundSession{Ratchet: *ratchet, SigningKey: crypto.Ed25519GenerateFromSeed(run(90, ed25519.SeedSize))}, Reserved: 100}
	shared, err := out.key()
	if err != nil {
		t.Fatal(err)
	}
	in, err := parseKey(tellKey, out.id(), shared)
	if err != nil {
		t.Fatal(err)
	}
	key, err := (&inbound{ratchet: in}).export(0)
	if err != nil {
		t.Fatal(err)
	}
	id := func(second int) chat.ID {
		return chat.NewID(chat.Ticks(time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC)), 0x1234, chat.Node{0x83, 1, 2, 3, 4, 5})
	}
	seal := func(i inner) []byte {
		megolm, err := out.encrypt(i.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		return (&sealed{session: out.id(), device: "phone", megolm: megolm}).append(nil)
	}
	add := func(name string, second int, from, to string, place uint64, content []byte, what string, typ uint8, body string) {
		all = append(all, messageVector{Name: name, Key: h(key), Device: "phone", Peer: "bob", ID: id(second).String(), From: from, To: to, Place: place,
			Content: h(content), Error: what, Type: typ, Body: h([]byte(body))})
	}
	said := func(second int, to, body string) inner {
		return inner{kind: TypeBody, id: id(second), from: "alice", device: "phone", to: to, body: []byte(body)}
	}
	hello := seal(said(1, "bob", "hello"))
	add("a message", 1, "alice", "bob", 5, hello, "", TypeBody, "hello")
	add("a type that is not known", 2, "alice", "bob", 6, seal(inner{kind: 200, id: id(2), from: "alice", device: "phone", to: "bob", body: []byte{1}}), "", 200, "\x01")
	add("again, where it was", 1, "alice", "bob", 5, hello, "", TypeBody, "hello")
	add("again, at another place", 1, "alice", "bob", 7, hello, "replayed", 0, "")
	add("under another id", 3, "alice", "bob", 8, hello, "replayed", 0, "")
	add("an id that was not sent", 9, "alice", "bob", 9, seal(said(4, "bob", "x")), "replayed", 0, "")
	add("in another chat", 5, "alice", "bob", 10, seal(said(5, "carol", "x")), "moved", 0, "")
	add("of another user", 6, "mallory", "bob", 11, seal(said(6, "bob", "x")), "moved", 0, "")
	changed := seal(said(7, "bob", "x"))
	changed[len(changed)-1] ^= 1
	add("changed on its way", 7, "alice", "bob", 12, changed, "forged", 0, "")
	return all
}

// makeAttachments encrypts anew: age draws a key for each file.
func makeAttachments(t *testing.T) []attachmentVector {
	t.Helper()
	file := run(0, 40)
	encrypt := func(name string, pad bool) attachmentVector {
		var sealed bytes.Buffer
		a, err := EncryptAttachment(&sealed, bytes.NewReader(file), int64(len(file)), pad)
		if err != nil {
			t.Fatal(err)
		}
		return attachmentVector{name, a.Key, h(a.Digest), a.Size, h(sealed.Bytes()), h(file)}
	}
	plain, padded := encrypt("a file", false), encrypt("a padded file", true)
	digest, cut, longer := plain, plain, plain
	digest.Name, digest.Digest, digest.File = "another digest", h(make([]byte, 32)), ""
	cut.Name, cut.Sealed, cut.File = "cut off", plain.Sealed[:len(plain.Sealed)-2], ""
	longer.Name, longer.Sealed, longer.File = "something behind it", plain.Sealed+"00", ""
	return []attachmentVector{plain, padded, digest, cut, longer}
}

func render(t *testing.T, v vectors) []byte {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func loadVectors(t *testing.T) (v vectors) {
	t.Helper()
	b, err := os.ReadFile(vectorsFile)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectorsFile(t *testing.T) {
	made := makeVectors(t)
	if *update {
		made.Attachments = makeAttachments(t)
		if err := os.WriteFile(vectorsFile, render(t, made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	made.Attachments = loadVectors(t).Attachments
	if have, err := os.ReadFile(vectorsFile); err != nil || !bytes.Equal(have, render(t, made)) {
		t.Errorf("%s is not what the code makes: go test ./client/e2ee -run Vectors -update (%v)", vectorsFile, err)
	}
}

func TestKeyVectors(t *testing.T) {
	v := loadVectors(t)
	for _, x := range v.Signed {
		by := unhex(t, x.By)
		check := func(signature []byte) error {
			if x.What == "device" {
				d := pubkey.Device{User: x.User, Device: x.Device, Curve: unhex(t, x.Curve), Signing: unhex(t, x.Signing), Signature: signature}
				return d.Check(by)
			}
			k := pubkey.PreKey{ID: x.ID, Key: unhex(t, x.Curve), Signature: signature, Fallback: x.What == "fallback"}
			return k.Check(x.User, x.Device, by)
		}
		if err := check(unhex(t, x.Signature)); err != nil || !ed25519.Verify(by, unhex(t, x.Signed), unhex(t, x.Signature)) {
			t.Errorf("%s: %v", x.What, err)
		}
		if check(make([]byte, pubkey.SignatureBytes)) == nil {
			t.Errorf("%s: any signature is taken", x.What)
		}
	}
	for _, key := range v.Weak.Curve {
		if !errors.Is(pubkey.CheckCurve25519(unhex(t, key)), pubkey.ErrWeak) {
			t.Errorf("Curve25519 %s is taken", key)
		}
	}
	for _, key := range v.Weak.Signing {
		if !errors.Is(pubkey.CheckEd25519(unhex(t, key)), pubkey.ErrWeak) {
			t.Errorf("Ed25519 %s is taken", key)
		}
	}
	for _, x := range v.Safety {
		s := safetyOf(x.A, unhex(t, x.IdentityA), x.B, unhex(t, x.IdentityB))
		same, err := s.Scanned(x.QR)
		if s.Digits != x.Digits || err != nil || !same || h(fingerprint(x.A, unhex(t, x.IdentityA))) != x.FingerprintA {
			t.Errorf("%s and %s: %s, %v", x.A, x.B, s.Digits, err)
		}
	}
	for _, x := range v.LinkCodes {
		code, err := parseLinkCode(x.Typed)
		if err != nil || h(code.print) != x.Print || h(code.device) != x.Device || h(code.secret) != x.Secret || code.String() != x.Code {
			t.Errorf("%q is read as %+v, %v", x.Typed, code, err)
		}
	}
	for _, typed := range v.BadLinkCodes {
		if _, err := parseLinkCode(typed); !errors.Is(err, ErrLinkCode) {
			t.Errorf("%q is taken: %v", typed, err)
		}
	}
}

func TestEnvelopeVectors(t *testing.T) {
	v := loadVectors(t)
	for _, x := range v.Contents {
		s, err := parseSealed(unhex(t, x.Hex))
		if err != nil || h(s.session[:]) != x.Session || s.device != x.Device || h(s.megolm) != x.Megolm || h(s.append(nil)) != x.Hex {
			t.Errorf("%+v, %v", s, err)
		}
	}
	for _, x := range v.Shares {
		s, err := parseShare(unhex(t, x.Hex))
		if err != nil || h(s.session[:]) != x.Session || s.device != x.Device || len(s.parts) != len(x.Parts) || h(s.append(nil)) != x.Hex {
			t.Fatalf("%+v, %v", s, err)
		}
		for i, p := range s.parts {
			if (partVector{p.own, p.device, p.olm, h(p.body)}) != x.Parts[i] {
				t.Errorf("%+v", p)
			}
		}
	}
	for _, x := range v.Told {
		m, err := parseTold(unhex(t, x.Hex))
		got := toldVector{h(m.append(nil)), m.kind, m.from, m.fromDevice, m.to, m.toDevice, h(m.fromKey), h(m.toKey), m.peer, h(m.session[:]), m.index, h(m.key)}
		if err != nil || got != x {
			t.Errorf("%+v, %v", got, err)
		}
	}
	parsers := map[string]func([]byte) error{
		"content": func(b []byte) error { _, err := parseSealed(b); return err },
		"share":   func(b []byte) error { _, err := parseShare(b); return err },
		"told":    func(b []byte) error { _, err := parseTold(b); return err },
	}
	for _, x := range v.Refused {
		if err := parsers[x.As](unhex(t, x.Hex)); !errors.Is(err, errEnvelope) {
			t.Errorf("%s, %s: %v", x.As, x.Why, err)
		}
	}
}

func TestMessageVectors(t *testing.T) {
	vault, err := openVault("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	sessions, keys := inboundSessions{vault: vault, cached: map[string]*inbound{}}, map[string]*inbound{}
	for _, x := range loadVectors(t).Messages {
		s, err := parseSealed(unhex(t, x.Content))
		if err != nil {
			t.Fatalf("%s: %v", x.Name, err)
		}
		in := keys[x.Key]
		if in == nil {
			ratchet, err := parseKey(tellExport, s.session, unhex(t, x.Key))
			if err != nil {
				t.Fatalf("%s: %v", x.Name, err)
			}
			in = &inbound{User: "alice", Device: x.Device, Peer: x.Peer, ratchet: ratchet, seen: map[uint32]seen{}}
			keys[x.Key] = in
		}
		id, err := chat.ParseID(x.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := sessions.open(in, &s, &chat.Message{ID: id, From: chat.User(x.From), To: chat.User(x.To), Place: chat.Position(x.Place)}, true)
		want := map[string]error{"": nil, "forged": ErrForged, "replayed": ErrReplayed, "moved": ErrMoved}[x.Error]
		if !errors.Is(err, want) || err == nil && (got.kind != x.Type || h(got.body) != x.Body) {
			t.Errorf("%s: %+v, %v", x.Name, got, err)
		}
	}
}

func TestAttachmentVectors(t *testing.T) {
	for _, x := range loadVectors(t).Attachments {
		var file bytes.Buffer
		err := DecryptAttachment(&file, bytes.NewReader(unhex(t, x.Sealed)), Attachment{Key: x.Key, Digest: unhex(t, x.Digest), Size: x.Size})
		if x.File == "" && !errors.Is(err, ErrAttachment) || x.File != "" && (err != nil || h(file.Bytes()) != x.File) {
			t.Errorf("%s: %x, %v", x.Name, file.Bytes(), err)
		}
	}
}
