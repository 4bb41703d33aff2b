package main

func (s *storm) report() error { return nil }
