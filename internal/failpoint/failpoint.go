// Package failpoint kills the process at named places, so that crash tests hit
// the moments that matter rather than random ones. Without the build tag
// "failpoints" Hit is empty and costs nothing.
//
// With the tag, the environment variable ROOKERY_FAILPOINTS says where:
// "name=kill@N", several separated by commas. The process gets SIGKILL, which
// it cannot see coming, at the N-th hit of that name, from 1. A program that
// is given a value it cannot read ends with exit code 2 before it does
// anything.
package failpoint
