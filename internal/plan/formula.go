package plan

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// functions that a formula may call.
var functions = map[string]func(...float64) float64{
	"ceil":  func(x ...float64) float64 { return math.Ceil(x[0] - 1e-9*math.Abs(x[0])) }, // 3.0000000001 hosts are 3
	"floor": func(x ...float64) float64 { return math.Floor(x[0] + 1e-9*math.Abs(x[0])) },
	"max": func(x ...float64) float64 {
		m := x[0]
		for _, v := range x[1:] {
			m = max(m, v)
		}
		return m
	},
	"min": func(x ...float64) float64 {
		m := x[0]
		for _, v := range x[1:] {
			m = min(m, v)
		}
		return m
	},
}

// evaluate computes a formula: numbers, names, + - * /, brackets, and the
// functions, in Go's syntax. What is printed is what was computed.
func evaluate(formula string, value func(name string) (float64, bool)) (float64, error) {
	e, err := parser.ParseExpr(formula)
	if err != nil {
		return 0, fmt.Errorf("plan: formula %q: %w", formula, err)
	}
	v, err := walk(e, value)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		err = fmt.Errorf("it has no finite value")
	}
	if err != nil {
		return 0, fmt.Errorf("plan: formula %q: %w", formula, err)
	}
	return v, nil
}

func walk(e ast.Expr, value func(string) (float64, bool)) (float64, error) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return walk(e.X, value)
	case *ast.BasicLit:
		return strconv.ParseFloat(e.Value, 64)
	case *ast.Ident:
		v, ok := value(e.Name)
		if !ok {
			return 0, fmt.Errorf("nothing is called %s", e.Name)
		}
		return v, nil
	case *ast.BinaryExpr:
		return binary(e, value)
	case *ast.CallExpr:
		return call(e, value)
	}
	return 0, fmt.Errorf("%T is no part of a formula", e)
}

func binary(e *ast.BinaryExpr, value func(string) (float64, bool)) (float64, error) {
	x, err := walk(e.X, value)
	if err != nil {
		return 0, err
	}
	y, err := walk(e.Y, value)
	if err != nil {
		return 0, err
	}
	switch e.Op {
	case token.ADD:
		return x + y, nil
	case token.SUB:
		return x - y, nil
	case token.MUL:
		return x * y, nil
	case token.QUO:
		return x / y, nil
	}
	return 0, fmt.Errorf("%s is no part of a formula", e.Op)
}

func call(e *ast.CallExpr, value func(string) (float64, bool)) (float64, error) {
	name, _ := e.Fun.(*ast.Ident)
	if name == nil || functions[name.Name] == nil || len(e.Args) == 0 {
		return 0, fmt.Errorf("no such function")
	}
	var args []float64
	for _, a := range e.Args {
		v, err := walk(a, value)
		if err != nil {
			return 0, err
		}
		args = append(args, v)
	}
	return functions[name.Name](args...), nil
}

var namePattern = regexp.MustCompile(`[a-z_][a-z0-9_]*\(?`)

// names lists what a formula reads, in order, each once.
func names(formula string) []string {
	var found []string
	seen := map[string]bool{}
	for _, n := range namePattern.FindAllString(formula, -1) {
		if !strings.HasSuffix(n, "(") && !seen[n] {
			seen[n] = true
			found = append(found, n)
		}
	}
	return found
}

// withNumbers writes a formula with the numbers put in.
func withNumbers(formula string, show func(name string) string) string {
	s := namePattern.ReplaceAllStringFunc(formula, func(n string) string {
		if strings.HasSuffix(n, "(") {
			return n
		}
		return show(n)
	})
	return strings.NewReplacer(" * ", " × ", " / ", " ÷ ").Replace(s)
}
