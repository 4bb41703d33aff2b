package bench

import (
	"context"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client/e2ee"
	"github.com/rookery-chat/rookery/packet"
)

// cryptoDevice is the name of each user's only device.
const cryptoDevice = "d"

// cryptoDirectory is a server's part in encryption, in memory: it has the keys
// of devices, and the key shares that were sent and not taken yet.
type cryptoDirectory struct {
	mu     sync.Mutex // a machine publishes by a goroutine of its own
	puts   map[string]packet.KeysPut
	shares []cryptoShare
}

type cryptoShare struct {
	from, to string
	content  []byte
}

func newCryptoDirectory() *cryptoDirectory {
	return &cryptoDirectory{puts: map[string]packet.KeysPut{}}
}

// taken returns the shares that wait, which then do not any more.
func (d *cryptoDirectory) taken() (shares []cryptoShare) {
	d.mu.Lock()
	defer d.mu.Unlock()
	shares, d.shares = d.shares, nil
	return shares
}

// linkOf is a user's way to it.
func (d *cryptoDirectory) linkOf(user string) e2ee.Link { return cryptoLink{d, user} }

type cryptoLink struct {
	*cryptoDirectory
	user string
}

func (l cryptoLink) PutKeys(_ context.Context, put packet.KeysPut) (left int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	put.OneTime = append(l.puts[l.user].OneTime, put.OneTime...)
	l.puts[l.user] = put
	return len(put.OneTime), nil
}

func (l cryptoLink) Members(context.Context, string, string) (page packet.GroupPage, err error) {
	return page, chat.Errorf(chat.CodeUnknownType, "there are no groups here")
}

func (l cryptoLink) Keys(_ context.Context, users ...string) (list []packet.UserKeys, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, user := range users {
		row := packet.UserKeys{User: user}
		if put, ok := l.puts[user]; ok {
			row.Identity = put.Identity
			row.Devices = []packet.DeviceKeys{{Device: cryptoDevice, Curve: put.Curve, Signing: put.Signing, Signature: put.Signature}}
		}
		list = append(list, row)
	}
	return list, nil
}

// ClaimKeys hands out one-time keys, and the fallback key when there are none.
func (l cryptoLink) ClaimKeys(_ context.Context, devices ...packet.DeviceRef) (list []packet.ClaimedKey, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range devices {
		put := l.puts[d.User]
		claimed := packet.ClaimedKey{User: d.User, Device: d.Device, Fallback: len(put.OneTime) == 0, PreKey: put.Fallback}
		if !claimed.Fallback {
			claimed.PreKey, put.OneTime = put.OneTime[0], put.OneTime[1:]
			l.puts[d.User] = put
		}
		list = append(list, claimed)
	}
	return list, nil
}

func (l cryptoLink) DropKeys(context.Context, string) error { return nil }

func (l cryptoLink) RevokeDevice(context.Context, string) error { return nil }

func (l cryptoLink) SendShare(_ context.Context, to string, content []byte, _ time.Duration) (durable func(context.Context) error, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shares = append(l.shares, cryptoShare{l.user, to, content})
	return func(context.Context) error { return nil }, nil
}

func (l cryptoLink) Session() <-chan struct{} { return make(chan struct{}) }
