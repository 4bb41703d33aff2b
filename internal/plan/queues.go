package plan

import "math"

// Formulas of queueing theory, for what is predicted from few figures and for
// the tests of the simulation. Loads are shares of the servers, below 1.

// erlangC is the probability that a request waits, of a Poisson stream to so
// many servers of exponential service times (M/M/c). It is 1 at a load of 1.
func erlangC(servers int, load float64) float64 {
	if load >= 1 {
		return 1
	}
	blocked := 1.0 // Erlang B, by its recursion, which does not overflow
	offered := load * float64(servers)
	for i := 1; i <= servers; i++ {
		blocked = offered * blocked / (float64(i) + offered*blocked)
	}
	return blocked / (1 - load*(1-blocked))
}

// waitQuantile is how long at most a share of the requests of M/M/c wait, whose
// service times have a mean.
func waitQuantile(share float64, servers int, load, mean float64) float64 {
	waits := erlangC(servers, load)
	if waits <= 1-share {
		return 0
	}
	return math.Log(waits/(1-share)) * mean / (float64(servers) * (1 - load))
}
