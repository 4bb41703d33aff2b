package admin

import "github.com/rookery-chat/rookery/internal/auth"

// Auth are the metrics of tokens.
func Auth(stats *auth.Stats) Metrics {
	type s = *auth.Stats
	return collector(func() s { return stats }, []row[s]{
		count("rookery_token_signatures_remembered_total", "Tokens that came again, whose signature was not checked anew.", func(s s) uint64 { return s.Remembered.Load() }),
		count("rookery_token_signatures_checked_total", "Tokens that were not remembered: their signature was checked, or they were refused before.", func(s s) uint64 { return s.Checked.Load() }),
	})
}
