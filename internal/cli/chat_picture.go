package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// maxPicture is how many bytes a group's picture may have that is set here: devices
// that are linked later are given no larger one (docs/encryption.md).
const maxPicture = 8 << 10

// picture sets the group's picture from a file, saves it to one, or says what it is.
// It waits until the device has caught up: name and picture go together, and what it
// has not received yet it would take away.
func (t *talk) picture(ctx context.Context, what string) error {
	if t.c.sealed == nil || !chat.User(t.peer).IsGroup() {
		return errors.New("pictures are of groups, and without --plain")
	}
	verb, path, _ := strings.Cut(what, " ")
	path = strings.TrimSpace(path)
	var act func(info e2ee.GroupInfo) (notice string, err error)
	switch {
	case verb == "set" && path != "":
		act = func(info e2ee.GroupInfo) (string, error) { return t.setPicture(ctx, info, path) }
	case verb == "save" && path != "":
		act = func(info e2ee.GroupInfo) (string, error) { return savePicture(info, path) }
	case what == "":
		act = func(info e2ee.GroupInfo) (string, error) { return pictureText(info), nil }
	default:
		return fmt.Errorf("/picture %s", chatCommands["/picture"])
	}
	return t.whenCaughtUp(func() string {
		info, _ := t.c.sealed.GroupInfo(t.peer) // of nobody's giving: empty
		notice, err := act(info)
		if err != nil {
			return "picture: " + err.Error()
		}
		return notice
	})
}

func (t *talk) setPicture(ctx context.Context, info e2ee.GroupInfo, path string) (notice string, err error) {
	if info.Picture, err = readPicture(path); err != nil {
		return "", err
	}
	soon, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	members, err := t.c.sealed.GroupMembers(soon, t.peer)
	if err != nil {
		return "", err
	}
	for _, m := range members {
		if string(m.User) == t.me && !m.Admin {
			return "", errors.New("only an admin of the group can set it")
		}
	}
	s, err := t.c.sealed.SetGroupInfo(soon, t.peer, info)
	if err == nil {
		t.follow(ctx, s, nil)
	}
	return pictureText(info), err
}

// readPicture reads a file that is a picture, and small.
func readPicture(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPicture+1))
	switch kind := http.DetectContentType(b); {
	case err != nil:
		return nil, err
	case len(b) > maxPicture:
		return nil, fmt.Errorf("%s has more than %d bytes, which is the most: make it smaller, some 128 pixels wide", path, maxPicture)
	case !strings.HasPrefix(kind, "image/"):
		return nil, fmt.Errorf("%s is no picture but %s", path, kind)
	}
	return b, nil
}

// savePicture writes over nothing.
func savePicture(info e2ee.GroupInfo, path string) (notice string, err error) {
	if info.Picture == nil {
		return "", errors.New("the group has none")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(info.Picture)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return "the picture is saved as " + path, nil
}

func pictureText(info e2ee.GroupInfo) string {
	if info.Picture == nil {
		return "the group has no picture"
	}
	return fmt.Sprintf("the group's picture: %s, %d bytes", http.DetectContentType(info.Picture), len(info.Picture))
}

// whenCaughtUp does something whose result is a notice, now or as soon as this device
// has received what waited for it.
func (t *talk) whenCaughtUp(f func() (notice string)) error {
	switch {
	case t.caughtUp:
		t.view.notice = f()
	case len(t.behind) == waitingMost:
		return fmt.Errorf("%d commands wait until this device has caught up", waitingMost)
	default:
		t.behind = append(t.behind, f)
		t.pending++
	}
	return nil
}

// catchesUp does what waited for it.
func (t *talk) catchesUp() {
	behind := t.behind
	t.caughtUp, t.behind = true, nil
	if len(behind) == 0 {
		return
	}
	var notices []string
	for _, f := range behind {
		notices = append(notices, f())
		t.pending--
	}
	t.view.notice = strings.Join(notices, "; ")
}
