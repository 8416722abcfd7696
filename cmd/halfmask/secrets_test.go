package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWithoutDSN(t *testing.T) {
	const dsn = "clickhouse://u:sEcReT@h/db"
	for _, c := range []struct{ args, env, wantArgs, wantEnv []string }{
		{[]string{"serve", "--data", "d"}, []string{"A=b"}, []string{"serve", "--data", "d"}, []string{"A=b"}},
		{[]string{"serve", "--clickhouse", dsn, "--data", "d"}, []string{"A=b"}, []string{"serve", "--data", "d"}, []string{"A=b", "HALFMASK_CLICKHOUSE=" + dsn}},
		{[]string{"serve", "--clickhouse=" + dsn}, []string{"HALFMASK_CLICKHOUSE=other", "A=b"}, []string{"serve"}, []string{"A=b", "HALFMASK_CLICKHOUSE=" + dsn}},
		{[]string{"--clickhouse=x", "serve", "--clickhouse=" + dsn}, nil, []string{"serve"}, []string{"HALFMASK_CLICKHOUSE=" + dsn}},
		// Left to the parser, which complains.
		{[]string{"serve", "--clickhouse"}, nil, []string{"serve", "--clickhouse"}, nil},
		{[]string{"site", "add", "--", "--clickhouse", "x"}, nil, []string{"site", "add", "--", "--clickhouse", "x"}, nil},
	} {
		args, env, moved := withoutDSN(c.args, c.env)
		if diff := cmp.Diff(c.wantArgs, args); diff != "" {
			t.Errorf("%q: arguments (-want +got):\n%s", c.args, diff)
		}
		if diff := cmp.Diff(c.wantEnv, env); diff != "" {
			t.Errorf("%q: environment (-want +got):\n%s", c.args, diff)
		}
		if moved != (len(args) != len(c.args)) {
			t.Errorf("%q: moved is %v", c.args, moved)
		}
	}
}
