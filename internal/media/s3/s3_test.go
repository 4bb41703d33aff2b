package s3

import (
	"fmt"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/rookery-chat/rookery/internal/media"
	"github.com/rookery-chat/rookery/internal/media/mediatest"
	"github.com/rookery-chat/rookery/internal/services"
)

// open makes a bucket of the test's own.
func open(t *testing.T) (*Bucket, *media.Names) {
	t.Helper()
	names, known := media.NewNames([]byte("names")), services.Get(t)
	s, err := Open(Options{
		Endpoint: "http://" + services.S3(t), Region: "us-east-1", Bucket: fmt.Sprintf("test-%d", time.Now().UnixNano()), Prefix: "some/where/",
		AccessKey: known.S3AccessKey, SecretKey: known.S3SecretKey,
	}, names)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("a bucket that is not there was found")
	}
	if err := s.core.MakeBucket(t.Context(), s.opt.Bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	return s, names
}

func TestContract(t *testing.T) {
	s, names := open(t)
	mediatest.Run(t, s, names)
}
