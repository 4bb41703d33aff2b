package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rookery-chat/rookery/chat"
)

// Commands of a user in a folder of state files are one device, whose name is kept
// there. A command that finds it in use is another one: the same name and a number.
const (
	deviceWord  = "terminal-"
	deviceChars = 6 // random ones behind the word: there may be folders on other machines
	deviceSpare = 3 // names beside the first, so many more commands can run at once
)

// devicesOf returns the names that a folder's commands of a user have, the first
// one first. Where none is kept it makes one.
func devicesOf(dir, user string) ([]string, error) {
	first, err := keptDevice(filepath.Join(dir, user+".device"))
	if err != nil {
		return nil, err
	}
	names := []string{first}
	for n := range deviceSpare {
		names = append(names, first+"."+strconv.Itoa(n+2))
	}
	return names, nil
}

func keptDevice(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err = keepDevice(path, deviceWord+strings.ToLower(rand.Text()[:deviceChars])); err == nil {
			b, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(string(b))
	if _, err := chat.NewDevice(name + ".0"); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return name, nil
}

// keepDevice keeps a name. Of two that do so at the same time one wins, and both
// have that.
func keepDevice(path, name string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".device-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(name + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil // somebody else's is there now
}
