package main

import (
	"context"
	"errors"
)

func (s *storm) outage(ctx context.Context) error { return errors.New("to come") }
