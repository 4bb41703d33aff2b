package packet

// The packets of the key directory: public keys of devices, signed by their
// user's identity, and one-time keys that are handed out once each. What is
// signed, and what a client makes of them, is in docs/encryption.md. Every
// Decode starts from the zero value, copies what it keeps, and fails with
// CodeBadPacket.

// Packets of a client about keys.
const (
	TypeKeysPut   Type = 13
	TypeKeysGet   Type = 14
	TypeKeysClaim Type = 15
	TypeKeysDrop  Type = 16
)

// Packets of the server about keys.
const (
	TypeKeysStored  Type = 50
	TypeKeys        Type = 51
	TypeKeysClaimed Type = 52
	TypeKeysLow     Type = 53
)

// Keys of Welcome.Limits about keys. A server that leaves LimitOneTimeKeys out
// has no key directory.
const (
	LimitOneTimeKeys = "one_time_keys" // one-time keys kept of a device; too_many
	LimitKeyUsers    = "key_users"     // users of a KeysGet; too_many
	LimitKeyDevices  = "key_devices"   // devices of a KeysClaim; too_many
	LimitKeyRate     = "key_rate"      // packets about keys a minute, and at once after a pause; rate_limited
)

// PreKey is a one-time key or a fallback key: [id, key, signature]. Key is a
// Curve25519 public key (32 bytes), Signature the device's Ed25519 signature of
// it (64 bytes). Ids rise with every key that a device makes.
type PreKey struct {
	ID        uint64
	Key       []byte
	Signature []byte
}

// KeysPut [13, req, identity, curve, signing, signature, one_time, fallback,
// reset] publishes the keys of the session's device: the user's identity
// (Ed25519), the device's Curve25519 and Ed25519 keys, the identity's signature
// of these, new one-time keys, and the fallback key that is handed out when
// there is none. Reset replaces an identity that the user had before, with all
// its devices.
type KeysPut struct {
	Req       uint64
	Identity  []byte
	Curve     []byte
	Signing   []byte
	Signature []byte
	OneTime   []PreKey
	Fallback  PreKey
	Reset     bool
}

// KeysGet [14, req, users] asks for the identities and devices of users.
type KeysGet struct {
	Req   uint64
	Users []string
}

// DeviceRef names a device of a user: [user, device].
type DeviceRef struct {
	User   string
	Device string
}

// KeysClaim [15, req, devices] asks for one key of each device, to begin a
// session with it.
type KeysClaim struct {
	Req     uint64
	Devices []DeviceRef
}

// KeysDrop [16, req, device] removes the keys of a device of the session's user.
type KeysDrop struct {
	Req    uint64
	Device string
}

// KeysStored [50, req, left] answers KeysPut: the keys are durable, and so many
// one-time keys of the device have not been handed out.
type KeysStored struct {
	Req  uint64
	Left uint64
}

// DeviceKeys is one device: [device, curve, signing, signature].
type DeviceKeys struct {
	Device    string
	Curve     []byte
	Signing   []byte
	Signature []byte
}

// UserKeys is one user: [user, identity, devices]. A user without keys has an
// empty identity and no devices.
type UserKeys struct {
	User     string
	Identity []byte
	Devices  []DeviceKeys
}

// Keys [51, req, users] answers KeysGet, in the order asked.
type Keys struct {
	Req   uint64
	Users []UserKeys
}

// ClaimedKey is a key to begin a session with: [user, device, fallback, key];
// Fallback says that it is no one-time key.
type ClaimedKey struct {
	User     string
	Device   string
	Fallback bool
	PreKey   PreKey
}

// KeysClaimed [52, req, keys] answers KeysClaim. Devices without keys are left
// out.
type KeysClaimed struct {
	Req  uint64
	Keys []ClaimedKey
}

// KeysLow [53, left] says that few one-time keys of this device are left:
// publish more. It is a hint, and may be lost.
type KeysLow struct{ Left uint64 }

func (x *PreKey) fields() []any     { return []any{&x.ID, &x.Key, &x.Signature} }
func (x *DeviceRef) fields() []any  { return []any{&x.User, &x.Device} }
func (x *DeviceKeys) fields() []any { return []any{&x.Device, &x.Curve, &x.Signing, &x.Signature} }
func (x *UserKeys) fields() []any   { return []any{&x.User, &x.Identity, &x.Devices} }
func (x *ClaimedKey) fields() []any { return []any{&x.User, &x.Device, &x.Fallback, &x.PreKey} }

func (x *KeysPut) fields() []any {
	return []any{&x.Req, &x.Identity, &x.Curve, &x.Signing, &x.Signature, &x.OneTime, &x.Fallback, &x.Reset}
}

// Decode reads a KeysPut.
func (x *KeysPut) Decode(p Raw) error {
	*x = KeysPut{}
	return decodeCold(p, TypeKeysPut, x)
}

// AppendTo appends the encoded KeysPut.
func (x *KeysPut) AppendTo(dst []byte) []byte { return appendCold(dst, TypeKeysPut, x) }

func (x *KeysGet) fields() []any { return []any{&x.Req, &x.Users} }

// Decode reads a KeysGet.
func (x *KeysGet) Decode(p Raw) error {
	*x = KeysGet{}
	return decodeCold(p, TypeKeysGet, x)
}

// AppendTo appends the encoded KeysGet.
func (x *KeysGet) AppendTo(dst []byte) []byte { return appendCold(dst, TypeKeysGet, x) }

func (x *KeysClaim) fields() []any { return []any{&x.Req, &x.Devices} }

// Decode reads a KeysClaim.
func (x *KeysClaim) Decode(p Raw) error {
	*x = KeysClaim{}
	return decodeCold(p, TypeKeysClaim, x)
}

// AppendTo appends the encoded KeysClaim.
func (x *KeysClaim) AppendTo(dst []byte) []byte { return appendCold(dst, TypeKeysClaim, x) }

func (x *KeysDrop) fields() []any { return []any{&x.Req, &x.Device} }

// Decode reads a KeysDrop.
func (x *KeysDrop) Decode(p Raw) error {
	*x = KeysDrop{}
	return decodeCold(p, TypeKeysDrop, x)
}

// AppendTo appends the encoded KeysDrop.
func (x *KeysDrop) AppendTo(dst []byte) []byte { return appendCold(dst, TypeKeysDrop, x) }

func (x *KeysStored) fields() []any { return []any{&x.Req, &x.Left} }

// Decode reads a KeysStored.
func (x *KeysStored) Decode(p Raw) error {
	*x = KeysStored{}
	return decodeCold(p, TypeKeysStored, x)
}

// AppendTo appends the encoded KeysStored.
func (x *KeysStored) AppendTo(dst []byte) []byte { return appendCold(dst, TypeKeysStored, x) }

func (x *Keys) fields() []any { return []any{&x.Req, &x.Users} }

// Decode reads a Keys.
func (x *Keys) Decode(p Raw) error {
	*x = Keys{}
	return decodeCold(p, TypeKeys, x)
}

// AppendTo appends the encoded Keys.
func (x *Keys) AppendTo(dst []byte) []byte { return appendCold(dst, TypeKeys, x) }

func (x *KeysClaimed) fields() []any { return []any{&x.Req, &x.Keys} }

// Decode reads a KeysClaimed.
func (x *KeysClaimed) Decode(p Raw) error {
	*x = KeysClaimed{}
	return decodeCold(p, TypeKeysClaimed, x)
}

// AppendTo appends the encoded KeysClaimed.
func (x *KeysClaimed) AppendTo(dst []byte) []byte { return appendCold(dst, TypeKeysClaimed, x) }

func (x *KeysLow) fields() []any { return []any{&x.Left} }

// Decode reads a KeysLow.
func (x *KeysLow) Decode(p Raw) error {
	*x = KeysLow{}
	return decodeCold(p, TypeKeysLow, x)
}

// AppendTo appends the encoded KeysLow.
func (x *KeysLow) AppendTo(dst []byte) []byte { return appendCold(dst, TypeKeysLow, x) }
