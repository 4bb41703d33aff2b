package cql

import (
	"context"
	"slices"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// headsAtOnce is how many users' heads one request asks for: rows so small cost
// the nodes more for the request than for themselves.
const headsAtOnce = 50

// Heads implements storage.Store.
func (s *Store) Heads(ctx context.Context, users []chat.User, dst []chat.Position) ([]chat.Position, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	kept := len(dst)
	dst = append(dst, make([]chat.Position, len(users))...)
	heads := dst[kept:]
	parts := slices.Collect(slices.Chunk(users, headsAtOnce))
	err := each(ctx, len(parts), func(ctx context.Context, i int) error {
		found := map[string]chat.Position{}
		names := make([]string, 0, headsAtOnce)
		for _, u := range parts[i] {
			names = append(names, string(u))
		}
		err := s.query(ctx, getHeads, func(row scanner) error {
			var user string
			var head chat.Position
			err := row(&user, &head)
			found[user] = head
			return err
		}, names)
		for j, name := range names {
			heads[i*headsAtOnce+j] = found[name]
		}
		return err
	})
	if err != nil {
		return dst[:kept], failed("heads", err)
	}
	return dst, nil
}

// device is a row of devices; what was never written is nil.
type device struct {
	name            string
	seq             int32
	start, created  *int64
	cursor          *int64
	provider, token string
	pushed          chat.Position
	label           string
	revoked         *int64
}

func (d *device) known() bool { return d.start != nil && d.created != nil }

// present reports whether it was not revoked. What was being written then may be there still.
func (d *device) present() bool { return d.revoked == nil }

// devices calls f with each row of a user, in order of the devices' names.
func (s *Store) devices(ctx context.Context, user chat.User, f func(d *device)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.readDevices(ctx, user, f)
}

// readDevices is devices within another call.
func (s *Store) readDevices(ctx context.Context, user chat.User, f func(d *device)) error {
	err := s.query(ctx, getDevices, func(row scanner) error {
		var d device
		err := row(&d.name, &d.seq, &d.start, &d.created, &d.cursor, &d.provider, &d.token, &d.pushed, &d.label, &d.revoked)
		if err == nil {
			f(&d)
		}
		return err
	}, string(user))
	if err != nil {
		return failed("devices", err)
	}
	return nil
}

// Cursors implements storage.Store, in order of the devices' names.
func (s *Store) Cursors(ctx context.Context, user chat.User) (cursors []storage.Cursor, err error) {
	err = s.devices(ctx, user, func(d *device) {
		if d.cursor != nil && d.present() {
			cursors = append(cursors, storage.Cursor{Device: chat.Device(d.name), Position: chat.Position(*d.cursor)})
		}
	})
	return cursors, err
}

// ReadCursors implements storage.Store.
func (s *Store) ReadCursors(ctx context.Context, cursors []storage.UserCursor) error {
	for i := range cursors {
		c, found := &cursors[i], false
		err := s.devices(ctx, c.User, func(d *device) {
			if d.name != string(c.Device) || !d.present() {
				return
			}
			switch {
			case d.cursor != nil:
				c.Position, found = chat.Position(*d.cursor), true
			case d.known():
				c.Position, found = chat.Position(*d.start), true
			}
		})
		if err != nil {
			return err
		}
		if !found {
			*c = storage.UserCursor{}
		}
	}
	return nil
}

// Delivered implements storage.Store.
func (s *Store) Delivered(ctx context.Context, user chat.User) (furthest chat.Position, err error) {
	err = s.devices(ctx, user, func(d *device) {
		if d.cursor != nil && d.present() {
			furthest = max(furthest, chat.Position(*d.cursor))
		}
	})
	return furthest, err
}

// Devices implements storage.Store.
func (s *Store) Devices(ctx context.Context, user chat.User) (devices []storage.Device, err error) {
	err = s.devices(ctx, user, func(d *device) {
		if !d.known() {
			return
		}
		row := storage.Device{Name: chat.Device(d.name), Seq: uint16(d.seq), Start: chat.Position(*d.start), Created: *d.created, Label: d.label}
		switch {
		case !d.present():
			row.Revoked = *d.revoked
		case d.cursor != nil:
			row.Cursor = chat.Position(*d.cursor)
		}
		devices = append(devices, row)
	})
	return devices, err
}

// PutDevice implements storage.Store. A quorum of nodes has it when it returns.
func (s *Store) PutDevice(ctx context.Context, user chat.User, d storage.Device) error {
	return s.put(ctx, "device", putDevice, int32(d.Seq), clamp(d.Start), d.Created, string(user), string(d.Name))
}

// deviceOf returns the row of a device, nil when there is none. It is for within
// another call.
func (s *Store) deviceOf(ctx context.Context, user chat.User, name chat.Device) (found *device, err error) {
	err = s.readDevices(ctx, user, func(d *device) {
		if d.name == string(name) && d.known() {
			row := *d
			found = &row
		}
	})
	return found, err
}

func (s *Store) lookUp(ctx context.Context, user chat.User, name chat.Device) (*device, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.deviceOf(ctx, user, name)
}

// LabelDevice implements storage.Store.
func (s *Store) LabelDevice(ctx context.Context, user chat.User, name chat.Device, label string) (found bool, err error) {
	d, err := s.lookUp(ctx, user, name)
	if err != nil || d == nil || !d.present() {
		return false, err
	}
	return true, s.put(ctx, "device's label", putLabel, label, string(user), string(name))
}

// RevokeDevice implements storage.Store. A quorum knows that it is revoked before
// its keys go: who puts keys after that looks first, and who was doing it fails
// at the row's version.
func (s *Store) RevokeDevice(ctx context.Context, user chat.User, name chat.Device, at int64) (found bool, err error) {
	d, err := s.lookUp(ctx, user, name)
	if err != nil || d == nil {
		return false, err
	}
	if !d.present() {
		at = *d.revoked
	}
	err = s.put(ctx, "device's end", putRevoked, at, string(user), string(name))
	if err == nil && d.cursor != nil {
		err = s.put(ctx, "device's cursor", dropCursor, stamp(chat.Position(*d.cursor)), string(user), string(name))
	}
	if err == nil {
		err = s.dropKeys(ctx, user, name, true)
	}
	return err == nil, err
}

// PushTargets implements storage.Store.
func (s *Store) PushTargets(ctx context.Context, user chat.User) (targets []storage.PushTarget, err error) {
	err = s.devices(ctx, user, func(d *device) {
		if d.token != "" && d.present() {
			targets = append(targets, storage.PushTarget{
				Device: chat.Device(d.name), Provider: d.provider, Token: d.token, Pushed: d.pushed,
			})
		}
	})
	return targets, err
}

// PutPushTarget implements storage.Store. How far a forgotten target was pushed
// is deleted at that very position, so that later ones count.
func (s *Store) PutPushTarget(ctx context.Context, user chat.User, t storage.PushTarget) error {
	if t.Token != "" {
		return s.put(ctx, "push target", putTarget, t.Provider, t.Token, string(user), string(t.Device))
	}
	var pushed chat.Position
	err := s.devices(ctx, user, func(d *device) {
		if d.name == string(t.Device) {
			pushed = d.pushed
		}
	})
	if err == nil && pushed > 0 {
		err = s.put(ctx, "push target", dropPushed, stamp(pushed), string(user), string(t.Device))
	}
	if err != nil {
		return err
	}
	return s.put(ctx, "push target", putTarget, "", "", string(user), string(t.Device))
}

// PutPushed implements storage.Store.
func (s *Store) PutPushed(ctx context.Context, user chat.User, d chat.Device, pos chat.Position) error {
	return s.put(ctx, "pushed", putPushed, stamp(pos), clamp(pos), string(user), string(d))
}

// LastSeen implements storage.Store.
func (s *Store) LastSeen(ctx context.Context, user chat.User) (at int64, err error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	err = s.query(ctx, getLastSeen, func(row scanner) error { return row(&at) }, string(user))
	if err != nil {
		return 0, failed("last seen", err)
	}
	return at, nil
}

// PutLastSeen implements storage.Store. The latest time wins, whichever gateway
// writes it.
func (s *Store) PutLastSeen(ctx context.Context, user chat.User, at int64) error {
	return s.put(ctx, "last seen", putLastSeen, at*1000, at, string(user))
}

func (s *Store) put(ctx context.Context, what, statement string, args ...any) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.write(ctx, statement, args...); err != nil {
		return failed(what, err)
	}
	return nil
}
