package server

import (
	"reflect"
	"testing"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/gateway"
)

// The gateway's defaults and the configuration's are the same ones.
func TestDefaultsAreOne(t *testing.T) {
	s := &Server{cfg: config.Default()}
	got, want := s.gatewayOptions(), gateway.DefaultOptions()
	got.Verify, got.Logger, want.Logger = nil, nil, nil
	if len(got.Origins) == 0 {
		got.Origins = nil
	}
	for i := range reflect.TypeFor[gateway.Options]().NumField() {
		a, b := reflect.ValueOf(got).Field(i).Interface(), reflect.ValueOf(want).Field(i).Interface()
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s is %v by configuration and %v in the gateway", reflect.TypeFor[gateway.Options]().Field(i).Name, a, b)
		}
	}
}
