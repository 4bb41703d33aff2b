//go:build js

// Rookery-e2ee is client/e2ee for the TypeScript SDK: compiled to WebAssembly it
// hands what it can to the function `ready` of its global object. sdk/js/src/e2ee
// is the other side.
package main

import (
	"bytes"
	"syscall/js"

	"github.com/rookery-chat/rookery/client/e2ee"
)

func main() {
	js.Global().Call("ready", map[string]any{
		"open":    async(open),
		"encrypt": plain(encryptAttachment),
		"decrypt": plain(decryptAttachment),
	})
	select {}
}

// encryptAttachment (file, pad) returns the encrypted file and what the message
// says of it.
func encryptAttachment(args []js.Value) (any, error) {
	file := bytesOf(args[0])
	var sealed bytes.Buffer
	a, err := e2ee.EncryptAttachment(&sealed, bytes.NewReader(file), int64(len(file)), args[1].Bool())
	if err != nil {
		return nil, err
	}
	return map[string]any{"file": toJS(sealed.Bytes()), "key": a.Key, "digest": toJS(a.Digest), "size": a.Size}, nil
}

// decryptAttachment (file, key, digest, size) returns the file.
func decryptAttachment(args []js.Value) (any, error) {
	var file bytes.Buffer
	a := e2ee.Attachment{Key: args[1].String(), Digest: bytesOf(args[2]), Size: int64(args[3].Float())}
	if err := e2ee.DecryptAttachment(&file, bytes.NewReader(bytesOf(args[0])), a); err != nil {
		return nil, err
	}
	return toJS(file.Bytes()), nil
}
