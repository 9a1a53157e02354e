package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

// exportPages bounds what an export holds of a list: 100 entries a page.
const exportPages = 100

// export answers what the services hold about a user: the user, the sessions,
// and the newest orders and notifications. An admin asks on the user's behalf.
func (a *API) export(w http.ResponseWriter, r *http.Request) error {
	caller, err := a.admit(r, themself, a.Proxies.Of(r))
	if err != nil {
		return err
	}
	path, err := a.path(r, "/api/users/{id}", themself, caller)
	if err != nil {
		return err
	}
	if err := within(a.Exports, caller.UserID); err != nil {
		return err
	}
	who := identity.Caller{UserID: strings.TrimPrefix(path, "/users/"), Role: identity.User}
	var user json.RawMessage
	if err := a.Users.Get(r.Context(), path, who, &user); err != nil {
		return err
	}
	var sessions map[string]json.RawMessage
	if err := a.Users.Get(r.Context(), path+"/sessions", who, &sessions); err != nil {
		return err
	}
	export := map[string]any{"user": user, "sessions": sessions["sessions"]}
	for name, service := range map[string]*upstream.Service{"orders": a.Orders, "notifications": a.Notifications} {
		if export[name], err = list(r.Context(), service, name, who); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Disposition", `attachment; filename="export.json"`)
	return httpjson.Write(w, http.StatusOK, export)
}

// list reads the pages of a list.
func list(ctx context.Context, service *upstream.Service, name string, who identity.Caller) (all []json.RawMessage, err error) {
	all = []json.RawMessage{}
	query := url.Values{"limit": {"100"}}
	for range exportPages {
		var page map[string]json.RawMessage
		if err := service.Get(ctx, "/"+name+"?"+query.Encode(), who, &page); err != nil {
			return nil, err
		}
		var part []json.RawMessage
		var next string
		if err := json.Unmarshal(page[name], &part); err != nil {
			return nil, problem.New(problem.BadGateway, "The service gave no valid answer.", err)
		}
		all = append(all, part...)
		if json.Unmarshal(page["next"], &next) != nil || next == "" {
			break
		}
		query.Set("after", next)
	}
	return all, nil
}
