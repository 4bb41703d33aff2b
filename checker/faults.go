package main

import "context"

func (s *storm) trouble(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
