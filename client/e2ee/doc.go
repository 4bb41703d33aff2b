// Package e2ee encrypts what the SDK sends and decrypts what it receives, end to
// end: the server sees ciphertext and public keys. It is the client of package
// client with encryption on.
//
//	c, err := e2ee.Dial(ctx, client.Options{
//		URL: "ws://127.0.0.1:8080", User: "alice", Device: "phone",
//		Token: login, State: "alice.state",
//	}, e2ee.Options{Keys: "alice.keys", Passphrase: secret})
//	sent, err := c.Send(ctx, "bob", []byte("hi"))
//
// Content goes through Megolm, one session for each chat and sending device;
// session keys travel through Olm to every device of both users. Both come from
// a library: nothing is put together here but envelopes. docs/encryption.md has
// the bytes, the threats, and what is not promised.
//
// Receive returns the events of package client with their content decrypted
// (Suite stays SuiteMegolm), and those of this package: what could not be
// trusted, and changes of identities.
package e2ee
