// Package view looks at a string as bytes and the other way round, without a
// copy: where a hot path would otherwise allocate.
package view

import "unsafe"

// Bytes is a string as bytes, which nobody may write to.
func Bytes[S ~string](s S) []byte { return unsafe.Slice(unsafe.StringData(string(s)), len(s)) }

// String is bytes as a string, valid as long as they do not change.
func String[S ~string](b []byte) S { return S(unsafe.String(unsafe.SliceData(b), len(b))) }
