package presencetest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWorld(t *testing.T) {
	Run(t, func(*testing.T) Backend { return NewWorld() })
}
