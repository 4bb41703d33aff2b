package folder

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/media"
	"github.com/rookery-chat/rookery/internal/media/mediatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	names := media.NewNames([]byte("names"))
	f, err := Open(t.TempDir(), names, []byte("urls"), srv.URL+"/media/")
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/media/", http.StripPrefix("/media", f))
	mediatest.Run(t, f, names)
}
