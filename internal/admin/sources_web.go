package admin

import "github.com/rookery-chat/rookery/internal/web"

// Web are the metrics of the web listener.
func Web(stats *web.Stats) Metrics {
	type s = *web.Stats
	classes := [...]string{2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
	return collector(func() s { return stats }, []row[s]{
		level("rookery_web_connections", "Open connections of the web listener.", func(s s) int64 { return s.Connections.Load() }),
		by(counter, "rookery_web_requests_total", "area", "Requests to the web listener, by its part.",
			func(s s, emit func(string, float64)) {
				for a, name := range web.AreaNames {
					emit(name, float64(s.Requests[a].Load()))
				}
			}),
		by(counter, "rookery_web_responses_total", "class", "Answers of the web listener, by the class of their status.",
			func(s s, emit func(string, float64)) {
				for class := 2; class <= 5; class++ {
					emit(classes[class], float64(s.Responses[class].Load()))
				}
			}),
		count("rookery_web_wrong_host_total", "Requests to the web listener that named another server.", func(s s) uint64 { return s.WrongHost.Load() }),
	})
}
