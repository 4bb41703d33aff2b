package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/cors"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/services"
)

// bucket makes one of the test's own, which answers pages, and the settings for
// it.
func bucket(t *testing.T) func(*config.Config) {
	t.Helper()
	address, known, name := services.S3(t), services.Get(t), fmt.Sprintf("server-%d", time.Now().UnixNano())
	c, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(known.S3AccessKey, known.S3SecretKey, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	rule := cors.Rule{
		AllowedOrigin: []string{"*"}, AllowedMethod: []string{"GET", "PUT"}, AllowedHeader: []string{"Content-Type", "Range"}, ExposeHeader: []string{"Content-Range"},
	}
	if err := c.SetBucketCors(t.Context(), name, cors.NewConfig([]cors.Rule{rule})); err != nil {
		t.Fatal(err)
	}
	login := filepath.Join(t.TempDir(), "login")
	if err := os.WriteFile(login, []byte(known.S3AccessKey+"\n"+known.S3SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) {
		c.Media.URL, c.Media.Endpoint, c.Media.Credentials = "s3://"+name+"/pictures", "http://"+address, login
	}
}

func mediaOf(t *testing.T, s *Server, user string) *client.Media {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return &client.Media{Web: "http://" + s.WebAddr().String(), Token: func(context.Context) (string, error) { return token(t, s, user, "", time.Hour), nil }}
}

// TestMediaOfBothKinds takes a blob from one user to another.
func TestMediaOfBothKinds(t *testing.T) {
	for what, change := range map[string]func(*config.Config){"folder": nil, "bucket": bucket(t)} {
		t.Run(what, func(t *testing.T) {
			s := startServer(t, t.TempDir(), change)
			text := bytes.Repeat([]byte("0123456789"), 1<<20) // two parts
			ann, bob := mediaOf(t, s, "ann"), mediaOf(t, s, "bob")
			var begun string
			name, err := ann.Upload(t.Context(), bytes.NewReader(text), client.Upload{Size: int64(len(text)), Begun: func(n string) { begun = n }})
			if err != nil || name != begun {
				t.Fatal(name, err)
			}
			var got bytes.Buffer
			got.Write(text[:5])
			if n, err := bob.Download(t.Context(), name, &got, client.Download{From: 5}); err != nil || n != int64(len(text)) || !bytes.Equal(got.Bytes(), text) {
				t.Errorf("%d bytes, %v", n, err)
			}
			if n, err := bob.Download(t.Context(), name, &got, client.Download{From: int64(len(text))}); err != nil || n != int64(len(text)) {
				t.Errorf("nothing was left to download: %d, %v", n, err)
			}
			if again, err := ann.Upload(t.Context(), bytes.NewReader(text), client.Upload{Size: int64(len(text)), Name: name}); err != nil || again != name {
				t.Errorf("the same again: %s, %v", again, err)
			}
			if err := ann.Drop(t.Context(), name); err != nil {
				t.Error(err)
			}
			if _, err := bob.Download(t.Context(), name, &got, client.Download{}); chat.CodeOf(err) != chat.CodeNotFound {
				t.Errorf("after it was dropped: %v", err)
			}
		})
	}
}

// TestMediaAfterRestart holds that names are good in the next life.
func TestMediaAfterRestart(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, nil)
	name, err := mediaOf(t, s, "ann").Upload(t.Context(), strings.NewReader("hello"), client.Upload{Size: 5})
	if err != nil {
		t.Fatal(err)
	}
	stopServer(t, s)
	var got bytes.Buffer
	if _, err := mediaOf(t, startServer(t, dir, nil), "bob").Download(t.Context(), name, &got, client.Download{}); err != nil || got.String() != "hello" {
		t.Errorf("%q, %v", got.String(), err)
	}
}

func TestMediaOff(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Media.URL = "off" })
	if _, err := mediaOf(t, s, "ann").Upload(t.Context(), strings.NewReader("x"), client.Upload{Size: 1}); chat.CodeOf(err) != chat.CodeNotFound {
		t.Error(err)
	}
}

// TestMediaSecret holds that a short one is refused.
func TestMediaSecret(t *testing.T) {
	c := config.Default()
	c.Media.Secret = filepath.Join(t.TempDir(), "secret")
	for text, good := range map[string]bool{strings.Repeat("x", leastSecret-1): false, strings.Repeat("x", leastSecret): true} {
		if err := os.WriteFile(c.Media.Secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := mediaSecret(c); (err == nil) != good {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
	c.Media.Secret = filepath.Join(t.TempDir(), "missing")
	if _, err := mediaSecret(c); err == nil {
		t.Error("a secret that is missing was made up")
	}
}
