package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

// A cluster is one shard of replicas that agree through Keeper. Its tables
// replicate themselves; what differs from a server of one's own is this:
//
// A deduplication token and the rows are one transaction in Keeper, so a token
// holds for as long as its table remembers it, whatever is restarted: the epoch
// of a cluster never changes, and a batch keeps its token for life. Reconciling
// is what is left for tokens that were forgotten and parts that were lost.
//
// A batch is acknowledged when a quorum of replicas has it, so that none of them
// can take it along.

// clusterEpoch stands for a run of the server that never ends.
const clusterEpoch = "cluster"

// replicatedWindow is how many blocks and seconds a table remembers tokens for.
const replicatedWindow = "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 2592000"

var (
	plainEngine = regexp.MustCompile(`(?m)^ENGINE = (Replacing)?MergeTree(?:\((\w+)\))?`)
	plainWindow = regexp.MustCompile(`non_replicated_deduplication_window = \d+`)
)

// replicated turns a CREATE TABLE of a plain table into that of a replicated one.
// Shard and replica are the server's own names for itself, from its
// configuration.
func replicated(sql string) string {
	sql = plainEngine.ReplaceAllStringFunc(sql, func(engine string) string {
		m := plainEngine.FindStringSubmatch(engine)
		arguments := "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
		if m[2] != "" {
			arguments += ", " + m[2]
		}
		return "ENGINE = Replicated" + m[1] + "MergeTree(" + arguments + ")"
	})
	return plainWindow.ReplaceAllString(sql, replicatedWindow)
}

func (s *Store) clustered() bool { return s.options.Cluster != "" }

// quorum are the settings of an insert that must survive the loss of a replica.
func (s *Store) quorum(settings clickhouse.Settings) {
	if !s.clustered() {
		return
	}
	settings["insert_quorum"] = "auto" // most of them
	if n := s.options.Quorum; n > 0 {
		settings["insert_quorum"] = fmt.Sprint(n)
	}
	settings["insert_quorum_parallel"] = 1
	settings["insert_quorum_timeout"] = quorumTimeout.Milliseconds()
}

// catchUp returns when the replica that is asked has every part of a table that
// Keeper knows of.
func (s *Store) catchUp(ctx context.Context, table string) error {
	if !s.clustered() {
		return nil
	}
	return s.exec(ctx, statement{name: "catchUp", sql: "SYSTEM SYNC REPLICA " + table + " LIGHTWEIGHT"})
}

// replicas are stores over one replica each; of a server of one's own it is the
// store itself.
func (s *Store) replicas() ([]*Store, error) {
	if !s.clustered() {
		return []*Store{s}, nil
	}
	s.alone.Lock()
	defer s.alone.Unlock()
	for len(s.single) < len(s.options.Addr) {
		o := s.options
		o.Addr, o.Registerer = o.Addr[len(s.single):len(s.single)+1], nil
		one := &Store{options: o, log: s.log, metrics: s.metrics, syncing: make(chan struct{}, 1)}
		var err error
		if one.writer, err = o.pool(o.Writer, o.Database, 1, writerTimeout); err != nil {
			return nil, err
		}
		one.reader = one.writer
		s.single = append(s.single, one)
	}
	return s.single, nil
}

// each does something with every replica, also if it fails with some.
func (s *Store) each(ctx context.Context, do func(context.Context, *Store) error) error {
	all, err := s.replicas()
	if err != nil {
		return err
	}
	var failed error
	for _, one := range all {
		if err := do(ctx, one); err != nil {
			if s.clustered() {
				err = fmt.Errorf("replica %s: %w", one.options.Addr[0], err)
			}
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// checkCluster refuses a cluster that cannot keep the promises.
func (s *Store) checkCluster(ctx context.Context) error {
	var shards, replicas uint64
	var known string
	_, err := s.one(ctx, statement{
		name: "checkCluster", sql: sqlText("Migrate.cluster"), args: []any{clickhouse.Named("cluster", s.options.Cluster)},
	}, &shards, &replicas, &known)
	if err != nil {
		return err
	}
	switch {
	case shards == 0:
		return fmt.Errorf("the server knows no cluster %q, it knows: %s", s.options.Cluster, cmp.Or(known, "none"))
	case shards > 1:
		return fmt.Errorf("cluster %q has %d shards; a batch must be stored in one place to be stored once: name a cluster of one shard with any number of replicas", s.options.Cluster, shards)
	case int(replicas) != len(s.options.Addr):
		s.log.Warn("the cluster has another number of replicas than the DSN names; those that it does not name get no tables",
			"cluster", s.options.Cluster, "replicas", replicas, "named", len(s.options.Addr))
	}
	return nil
}

// spread gives every replica the tables that the active one has. Replicas that
// are away get theirs when the janitor comes by.
func (s *Store) spread(ctx context.Context) error {
	if !s.clustered() {
		return nil
	}
	type table struct{ name, create string }
	var tables []table
	err := s.selectRows(ctx, s.writer, statement{name: "spread", sql: sqlText("Migrate.tables")}, func(scan scanner) error {
		var t table
		err := scan(&t.name, &t.create)
		tables = append(tables, t)
		return err
	})
	if err != nil {
		return err
	}
	return s.each(ctx, func(ctx context.Context, one *Store) error {
		if err := one.createDatabase(ctx); err != nil {
			return err
		}
		for _, t := range tables {
			create := strings.Replace(t.create, "CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
			if err := one.exec(ctx, statement{name: "spread", sql: create}); err != nil {
				return fmt.Errorf("cannot create table %s: %w", t.name, err)
			}
		}
		return nil
	})
}
