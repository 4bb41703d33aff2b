package packet

// The packets about a user's own devices.

// Packets of a client about devices.
const (
	TypeDevicesGet   Type = 24
	TypeDeviceLabel  Type = 25
	TypeDeviceRevoke Type = 26
)

// TypeDevices answers DevicesGet.
const TypeDevices Type = 56

// LimitDevices is the key of Welcome.Limits for how many devices a user may
// have; too_many_devices. A server that leaves it out knows no packets about
// devices.
const LimitDevices = "devices"

// DevicesGet [24, req] asks for the devices of the session's user.
type DevicesGet struct{ Req uint64 }

// DeviceLabel [25, req, device, label] gives a device of the session's user the
// name that the user calls it by; "" takes it away.
type DeviceLabel struct {
	Req    uint64
	Device string
	Label  string
}

// DeviceRevoke [26, req, device] takes a device of the session's user away for
// ever: its session ends, and it is refused from then on.
type DeviceRevoke struct {
	Req    uint64
	Device string
}

// Devices [56, req, devices] answers DevicesGet, in order of the devices' names.
type Devices struct {
	Req     uint64
	Devices []OwnDevice
}

// OwnDevice is a device of the session's user: [device, label, created, revoked].
// Times are ms since 1970; revoked is 0 where it was not.
type OwnDevice struct {
	Device  string
	Label   string
	Created int64
	Revoked int64
}

func (x *OwnDevice) fields() []any { return []any{&x.Device, &x.Label, &x.Created, &x.Revoked} }

func (x *DevicesGet) fields() []any { return []any{&x.Req} }

// Decode reads a DevicesGet.
func (x *DevicesGet) Decode(p Raw) error {
	*x = DevicesGet{}
	return decodeCold(p, TypeDevicesGet, x)
}

// AppendTo appends the encoded DevicesGet.
func (x *DevicesGet) AppendTo(dst []byte) []byte { return appendCold(dst, TypeDevicesGet, x) }

func (x *DeviceLabel) fields() []any { return []any{&x.Req, &x.Device, &x.Label} }

// Decode reads a DeviceLabel.
func (x *DeviceLabel) Decode(p Raw) error {
	*x = DeviceLabel{}
	return decodeCold(p, TypeDeviceLabel, x)
}

// AppendTo appends the encoded DeviceLabel.
func (x *DeviceLabel) AppendTo(dst []byte) []byte { return appendCold(dst, TypeDeviceLabel, x) }

func (x *DeviceRevoke) fields() []any { return []any{&x.Req, &x.Device} }

// Decode reads a DeviceRevoke.
func (x *DeviceRevoke) Decode(p Raw) error {
	*x = DeviceRevoke{}
	return decodeCold(p, TypeDeviceRevoke, x)
}

// AppendTo appends the encoded DeviceRevoke.
func (x *DeviceRevoke) AppendTo(dst []byte) []byte { return appendCold(dst, TypeDeviceRevoke, x) }

func (x *Devices) fields() []any { return []any{&x.Req, &x.Devices} }

// Decode reads a Devices.
func (x *Devices) Decode(p Raw) error {
	*x = Devices{}
	return decodeCold(p, TypeDevices, x)
}

// AppendTo appends the encoded Devices.
func (x *Devices) AppendTo(dst []byte) []byte { return appendCold(dst, TypeDevices, x) }
