package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/halfmask/halfmask/account"
	"github.com/halfmask/halfmask/dashboard"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/internal/registry"
	"github.com/halfmask/halfmask/storage"
	"github.com/halfmask/halfmask/storage/engine"
)

// admin does what the commands ask for, in the server or without one.
type admin struct {
	store    *storage.Store
	engine   *engine.Engine // nil with a server of one's own
	registry *registry.Registry
	snippet  func(domain string) string
	recount  func() // has the books compared with storage soon; nil without a server
}

type (
	siteAddArgs struct{ Domain, Zone string }
	siteArgs    struct{ Domain string }
	removed     struct{ Events uint64 }
	none        struct{}
	siteInfo    struct{ Domain, Zone, Snippet string }
	userAddArgs struct{ Name, Password string }
	tokenArgs   struct{ Site, Label string }
	tokenInfo   struct{ Secret string }
)

func (a *admin) operations() map[string]operation {
	return map[string]operation{
		"site.add":    handle(a.siteAdd),
		"site.list":   handle(a.siteList),
		"site.remove": handle(a.siteRemove),
		"user.add":    handle(a.userAdd),
		"token.add":   handle(a.tokenAdd),

		"clock.confirm": handle(a.clockConfirm),
	}
}

func (a *admin) siteAdd(ctx context.Context, args siteAddArgs) (siteInfo, error) {
	site, err := a.store.AddSite(ctx, args.Domain, args.Zone)
	if err != nil {
		return siteInfo{}, err
	}
	if err := a.changed(ctx, "site.add", site.Domain); err != nil {
		return siteInfo{}, err
	}
	return a.info(site), nil
}

func (a *admin) siteList(ctx context.Context, _ none) ([]siteInfo, error) {
	if err := a.registry.Refresh(ctx, a.store); err != nil {
		return nil, err
	}
	infos := []siteInfo{}
	for _, s := range a.registry.Sites() {
		infos = append(infos, a.info(s))
	}
	return infos, nil
}

func (a *admin) siteRemove(ctx context.Context, args siteArgs) (removed, error) {
	events, err := a.store.RemoveSite(ctx, args.Domain)
	if err != nil {
		return removed{}, err
	}
	err = a.changed(ctx, "site.remove", args.Domain)
	if a.recount != nil {
		a.recount()
	}
	return removed{events}, err
}

func (a *admin) userAdd(ctx context.Context, args userAddArgs) (none, error) {
	if err := dashboard.ValidatePassword(args.Password); err != nil {
		return none{}, err
	}
	name, err := dashboard.CleanName(args.Name)
	if err != nil {
		return none{}, err
	}
	if _, exists, err := a.store.UserByName(ctx, name); err != nil {
		return none{}, err
	} else if exists {
		return none{}, fmt.Errorf("there is a user %q already", name)
	}
	hash, err := dashboard.HashPassword(args.Password)
	if err != nil {
		return none{}, err
	}
	user := account.User{ID: dashboard.NewUserID(), Name: name, PasswordHash: hash, Created: time.Now()}
	if err := a.store.AddUser(ctx, user); err != nil {
		return none{}, err
	}
	return none{}, a.audit(ctx, "user.add", name)
}

func (a *admin) tokenAdd(ctx context.Context, args tokenArgs) (tokenInfo, error) {
	if err := a.registry.Refresh(ctx, a.store); err != nil {
		return tokenInfo{}, err
	}
	site, ok := a.registry.Site(args.Site)
	if !ok {
		return tokenInfo{}, fmt.Errorf("there is no site %q: 'halfmask site list' shows those there are", args.Site)
	}
	secret, token := dashboard.NewToken(site.ID, args.Label)
	if err := a.store.AddToken(ctx, token); err != nil {
		return tokenInfo{}, err
	}
	return tokenInfo{secret}, a.audit(ctx, "token.add", site.Domain)
}

func (a *admin) changed(ctx context.Context, action, target string) error {
	return errors.Join(a.registry.Refresh(ctx, a.store), a.audit(ctx, action, target))
}

func (a *admin) audit(ctx context.Context, action, target string) error {
	return a.store.AddEntry(ctx, account.Entry{At: time.Now(), Actor: "cli", Action: action, Target: target})
}

func (a *admin) info(s *event.Site) siteInfo {
	return siteInfo{s.Domain, s.Zone.String(), a.snippet(s.Domain)}
}

// call runs an operation and decodes its result.
func call[R any](ctx context.Context, c caller, operation string, args any) (R, error) {
	var result R
	raw, err := c(ctx, operation, args)
	if err != nil {
		return result, err
	}
	return result, json.Unmarshal(raw, &result)
}
