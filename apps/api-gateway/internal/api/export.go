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

// exportBytes limits each list in an export.
const exportBytes = 1 << 20

// exported is a list in an export.
type exported struct {
	Entries []json.RawMessage `json:"entries"`
	Next    string            `json:"next,omitempty"` // the value of after for the rest of the list
}

// export sends all data that the services store about the caller. Even an admin can't export the data of other
// users, because the audit log would not record it.
func (a *API) export(w http.ResponseWriter, r *http.Request) error {
	caller, err := a.admit(r, themself, a.Proxies.Of(r))
	if err != nil {
		return err
	}
	path, err := a.path(r, "/api/users/{id}", themself, caller)
	if err != nil {
		return err
	}
	if strings.TrimPrefix(path, "/users/") != caller.UserID {
		return problem.New(problem.Forbidden, "You may export only your own data.", nil)
	}
	if err := within(a.Exports, caller.UserID); err != nil {
		return err
	}
	release, err := upstream.Hold(4 * exportBytes) // two lists, decoded and encoded
	if err != nil {
		return err
	}
	defer release()
	var export struct {
		User          json.RawMessage   `json:"user"`
		Sessions      []json.RawMessage `json:"sessions"`
		Orders        exported          `json:"orders"`
		Notifications exported          `json:"notifications"`
	}
	if err := a.Users.Get(r.Context(), path, caller, &export.User); err != nil {
		return err
	}
	if err := a.Users.Get(r.Context(), path+"/sessions", caller, &export); err != nil {
		return err
	}
	if export.Orders, err = list(r.Context(), a.Orders, "orders", url.Values{"user_id": {caller.UserID}}, caller); err != nil {
		return err
	}
	if export.Notifications, err = list(r.Context(), a.Notifications, "notifications", url.Values{}, caller); err != nil {
		return err
	}
	w.Header().Set("Content-Disposition", `attachment; filename="export.json"`)
	return httpjson.Write(w, http.StatusOK, export)
}

// list reads pages of a list, newest entries first, up to exportBytes.
func list(ctx context.Context, service *upstream.Service, name string, query url.Values, caller identity.Caller) (exported, error) {
	all := exported{Entries: []json.RawMessage{}}
	query.Set("limit", "100")
	for size := 0; size < exportBytes; {
		var page map[string]json.RawMessage
		if err := service.Get(ctx, "/"+name+"?"+query.Encode(), caller, &page); err != nil {
			return exported{}, err
		}
		var entries []json.RawMessage
		if err := json.Unmarshal(page[name], &entries); err != nil {
			return exported{}, problem.New(problem.BadGateway, "The service sent no valid response.", err)
		}
		all.Entries, size = append(all.Entries, entries...), size+len(page[name])
		all.Next = strings.Trim(string(page["next"]), `"`) // an id, or nothing
		if all.Next == "" {
			break
		}
		query.Set("after", all.Next)
	}
	return all, nil
}
