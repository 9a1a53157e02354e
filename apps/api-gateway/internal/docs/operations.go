package docs

import "net/http"

// Access says who may use an operation.
type Access string

// Who may.
const (
	Anyone   Access = "Anyone, without a token."
	SignedIn Access = "Whoever is signed in, for what is theirs; an admin for everybody's."
	Admins   Access = "Admins."
)

// Operation is one thing that the API does. What follows from the other fields
// (most errors do) isn't said again.
type Operation struct {
	Method, Path string
	Tag          string
	Summary      string // what it does, in a few words
	Description  string // what else to know
	Access       Access
	Service      string // who answers behind the gateway; "" for the gateway itself
	Parameters   []Parameter
	Body         string // schema of the JSON body; "" for none
	Status       int    // of success
	Answer       string // schema of the body of success; "" for none
	Headers      []string
	Errors       map[int]string // further ones, and what they mean here
}

// Parameter is in the path, the query or a header.
type Parameter struct {
	Name, In    string
	Required    bool
	Description string
	Schema      map[string]any
	Example     string
}

func ref(schema string) map[string]any {
	return map[string]any{"$ref": "#/components/schemas/" + schema}
}

func pathID(of string) Parameter {
	return Parameter{
		Name: "id", In: "path", Required: true, Description: "The id of " + of + ".",
		Schema: ref("Id"), Example: "0198f3a0-7c1e-7a52-9b1d-3f6f2a9c4e10",
	}
}

func user() Parameter {
	p := pathID("the user, or me for yourself")
	p.Schema = map[string]any{"anyOf": []any{ref("Id"), map[string]any{"const": "me"}}}
	p.Example = "me"
	return p
}

func versions(header, effect string) Parameter {
	return Parameter{
		Name: header, In: "header", Description: effect + " one of these versions, each by its ETag; * stands for any.",
		Schema: map[string]any{"type": "string"}, Example: `"7"`,
	}
}

var (
	ifMatch     = versions("If-Match", "Changes it only if it has")
	ifNoneMatch = versions("If-None-Match", "Answers 304, without a body, if it has")
)

func paging(more ...Parameter) []Parameter {
	return append(more,
		Parameter{
			Name: "limit", In: "query", Description: "How many to give at most.",
			Schema: map[string]any{"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
		},
		Parameter{Name: "after", In: "query", Description: "The next of an earlier page.", Schema: ref("Id")})
}

const (
	idempotency = "Of requests with the same key and body, however many and however often, one has an effect and all get the " +
		"same answer. Keys are yours alone and are kept for 24 hours at least. Make one for each order that you want, and keep it until you have an answer."
	moved        = "The order's status doesn't allow it."
	taken        = "The email is somebody's already."
	otherVersion = "It has another version than those that If-Match names. Nothing was changed."
)

// Operations is the whole public API.
func Operations() []Operation {
	return []Operation{
		{
			Method: http.MethodPost, Path: "/api/auth/token", Tag: "Signing in", Summary: "Sign in", Access: Anyone, Service: "user-service",
			Description: "A session lasts 30 days, its access tokens 15 minutes each. After 10 wrong passwords in 10 minutes no more are tried for the account. " +
				"Whether there is such a user is not told.",
			Body: "Credentials", Status: http.StatusOK, Answer: "Tokens",
			Errors: map[int]string{http.StatusUnauthorized: "Email or password is wrong."},
		},
		{
			Method: http.MethodPost, Path: "/api/auth/oidc", Tag: "Signing in", Summary: "Sign in with an identity provider", Access: Anyone, Service: "user-service",
			Description: "For an app that has signed its user in at the platform's OpenID Connect provider, by the authorization code flow with PKCE. " +
				"Who is new becomes a user with the email that the provider has verified.",
			Body: "IDToken", Status: http.StatusOK, Answer: "Tokens", Errors: map[int]string{
				http.StatusUnauthorized: "The ID token isn't good, or has another nonce.", http.StatusForbidden: "You are new, and have no verified email.",
				http.StatusNotFound: "There is no provider here.", http.StatusConflict: "You are new, and a user has your email: sign in with the password.",
				http.StatusServiceUnavailable: "user-service or the provider is not available right now: come again.",
			},
		},
		{
			Method: http.MethodPost, Path: "/api/auth/refresh", Tag: "Signing in", Summary: "Get the next tokens", Access: Anyone, Service: "user-service",
			Description: "A refresh token is good once. For 30 seconds it answers the same successor again, so that you may repeat what got no answer; " +
				"after that it ends the session, since somebody else must have it.",
			Body: "RefreshToken", Status: http.StatusOK, Answer: "Tokens",
			Errors: map[int]string{http.StatusUnauthorized: "The token is no longer good: sign in again."},
		},
		{
			Method: http.MethodPost, Path: "/api/auth/revoke", Tag: "Signing in", Summary: "Sign out", Access: Anyone, Service: "user-service",
			Description: "Ends the session of the refresh token; its access tokens are refused within about a second. The answer is the same where there was none (RFC 7009).",
			Body:        "RefreshToken", Status: http.StatusNoContent,
		},

		{
			Method: http.MethodPost, Path: "/api/auth/email", Tag: "Signing in", Summary: "Confirm an email", Access: Anyone, Service: "user-service",
			Description: "With the token of the link that was sent to the email. A link is valid for 24 hours, once, and until another email is given. " +
				"A new email is the user's from now on.",
			Body: "LinkToken", Status: http.StatusNoContent, Errors: map[int]string{http.StatusConflict: taken},
		},
		{
			Method: http.MethodPost, Path: "/api/auth/password-reset", Tag: "Signing in", Summary: "Ask for a link to reset a password", Access: Anyone, Service: "user-service",
			Description: "The answer is the same where there is no such user. Up to 5 links are sent in an hour.",
			Body:        "Address", Status: http.StatusAccepted,
		},
		{
			Method: http.MethodPost, Path: "/api/auth/password", Tag: "Signing in", Summary: "Reset a password", Access: Anyone, Service: "user-service",
			Description: "With the token of the link, which is valid for an hour, once. It ends all sessions of the user.",
			Body:        "NewPassword", Status: http.StatusNoContent,
		},

		{
			Method: http.MethodPost, Path: "/api/users", Tag: "Users", Summary: "Sign up", Access: Anyone, Service: "user-service",
			Description: "A link to confirm the email is sent to it.",
			Body:        "NewUser", Status: http.StatusCreated, Answer: "User", Headers: []string{"Location", "ETag"},
			Errors: map[int]string{http.StatusConflict: taken},
		},
		{
			Method: http.MethodGet, Path: "/api/users", Tag: "Users", Summary: "List users", Access: Admins, Service: "user-service",
			Parameters: paging(), Status: http.StatusOK, Answer: "Users",
		},
		{
			Method: http.MethodGet, Path: "/api/users/{id}", Tag: "Users", Summary: "Read a user", Access: SignedIn, Service: "user-service",
			Description: "An answer may be a moment old: X-Cache says whether it comes from the cache.",
			Parameters:  []Parameter{user(), ifNoneMatch}, Status: http.StatusOK, Answer: "User", Headers: []string{"X-Cache", "ETag"},
			Errors: map[int]string{http.StatusForbidden: "It is another user."},
		},
		{
			Method: http.MethodPatch, Path: "/api/users/{id}", Tag: "Users", Summary: "Change a user", Access: SignedIn, Service: "user-service",
			Description: "A new email, password or role needs your own current password. A new email takes effect once it is confirmed by the link that is sent to it; the former one gets a notice. A new password or role ends all sessions of the user. Only an admin may change a role.",
			Parameters:  []Parameter{user(), ifMatch}, Body: "UserChange", Status: http.StatusOK, Answer: "User", Headers: []string{"ETag"},
			Errors: map[int]string{
				http.StatusForbidden: "It is another user, or a role, or current_password is wrong.",
				http.StatusConflict:  taken, http.StatusPreconditionFailed: otherVersion,
			},
		},
		{
			Method: http.MethodDelete, Path: "/api/users/{id}", Tag: "Users", Summary: "Delete a user", Access: SignedIn, Service: "user-service",
			Description: "Needs your own current password, and ends all sessions of the user. Orders stay, without the user; notifications are deleted.",
			Parameters:  []Parameter{user(), ifMatch}, Body: "Proof", Status: http.StatusNoContent,
			Errors: map[int]string{http.StatusForbidden: "It is another user, or current_password is wrong.", http.StatusPreconditionFailed: otherVersion},
		},

		{
			Method: http.MethodPost, Path: "/api/users/{id}/confirmation", Tag: "Users", Summary: "Send another link to confirm the email", Access: SignedIn, Service: "user-service",
			Parameters: []Parameter{user()}, Status: http.StatusAccepted,
			Errors: map[int]string{http.StatusForbidden: "It is another user.", http.StatusConflict: "The email is confirmed."},
		},
		{
			Method: http.MethodGet, Path: "/api/users/{id}/export", Tag: "Users", Summary: "Export what is held about a user", Access: SignedIn, Service: "user-service",
			Description: "The user, the sessions, and the newest 10,000 orders and notifications. Ten exports an hour.",
			Parameters:  []Parameter{user()}, Status: http.StatusOK, Answer: "Export", Headers: []string{"Content-Disposition"},
			Errors: map[int]string{http.StatusForbidden: "It is another user."},
		},
		{
			Method: http.MethodGet, Path: "/api/users/{id}/sessions", Tag: "Users", Summary: "List where a user is signed in", Access: SignedIn, Service: "user-service",
			Parameters: []Parameter{user()}, Status: http.StatusOK, Answer: "Sessions",
			Errors: map[int]string{http.StatusForbidden: "It is another user."},
		},
		{
			Method: http.MethodDelete, Path: "/api/users/{id}/sessions", Tag: "Users", Summary: "End all sessions of a user", Access: SignedIn, Service: "user-service",
			Description: "Also the session of this request. Access tokens are refused within about a second.",
			Parameters:  []Parameter{user()}, Status: http.StatusNoContent,
			Errors: map[int]string{http.StatusForbidden: "It is another user."},
		},
		{
			Method: http.MethodDelete, Path: "/api/users/{id}/sessions/{session}", Tag: "Users", Summary: "End one session of a user", Access: SignedIn, Service: "user-service",
			Parameters: []Parameter{user(), {
				Name: "session", In: "path", Required: true, Description: "The id of the session.", Schema: ref("Id"),
				Example: "0198f3a0-7c1e-7a52-9b1d-3f6f2a9c4e10",
			}}, Status: http.StatusNoContent,
			Errors: map[int]string{http.StatusForbidden: "It is another user."},
		},
		{
			Method: http.MethodGet, Path: "/api/audit", Tag: "Users", Summary: "Read the audit log", Access: Admins, Service: "user-service",
			Description: "Sign-ups, changes and deletions of users are kept for a year, the begin and the end of sessions for 90 days; those of deleted users, too. The newest comes first. Sign-ins that fail are not in it.",
			Parameters: paging(Parameter{
				Name: "user", In: "query", Description: "Only what concerns this user.", Schema: ref("Id"),
			}), Status: http.StatusOK, Answer: "AuditLog",
		},

		{
			Method: http.MethodPost, Path: "/api/orders", Tag: "Orders", Summary: "Order", Access: SignedIn, Service: "order-service",
			Description: idempotency,
			Parameters: []Parameter{{
				Name: "Idempotency-Key", In: "header", Required: true, Description: "1 to 255 visible ASCII characters, such as a UUID.",
				Schema: map[string]any{"type": "string", "pattern": "^[!-~]{1,255}$"}, Example: "my-first-order",
			}},
			Body: "NewOrder", Status: http.StatusCreated, Answer: "Order", Headers: []string{"Location", "ETag", "Idempotency-Replayed"},
			Errors: map[int]string{http.StatusUnprocessableEntity: "Some fields are not valid, or the Idempotency-Key was used for something else."},
		},
		{
			Method: http.MethodGet, Path: "/api/orders", Tag: "Orders", Summary: "List orders", Access: SignedIn, Service: "order-service",
			Parameters: paging(Parameter{
				Name: "user_id", In: "query", Description: "Whose; only an admin may name another, and without it sees everybody's.", Schema: ref("Id"),
			}),
			Status: http.StatusOK, Answer: "Orders",
			Errors: map[int]string{http.StatusForbidden: "user_id is somebody else's."},
		},
		{
			Method: http.MethodGet, Path: "/api/orders/{id}", Tag: "Orders", Summary: "Read an order", Access: SignedIn, Service: "order-service",
			Parameters: []Parameter{pathID("the order"), ifNoneMatch}, Status: http.StatusOK, Answer: "Order", Headers: []string{"ETag"},
		},
		{
			Method: http.MethodPost, Path: "/api/orders/{id}/cancel", Tag: "Orders", Summary: "Cancel an order", Access: SignedIn, Service: "order-service",
			Description: "As long as it isn't shipped. One that is cancelled already stays so.",
			Parameters:  []Parameter{pathID("the order"), ifMatch}, Status: http.StatusOK, Answer: "Order", Headers: []string{"ETag"},
			Errors: map[int]string{http.StatusConflict: moved, http.StatusPreconditionFailed: otherVersion},
		},
		move("pay", "Mark an order as paid", "From pending. One that is paid already stays so."),
		move("ship", "Mark an order as shipped", "From paid. One that is shipped already stays so."),
		move("deliver", "Mark an order as delivered", "From shipped. One that is delivered already stays so."),

		{
			Method: http.MethodGet, Path: "/api/notifications", Tag: "Notifications", Summary: "Read your inbox", Access: SignedIn, Service: "notification-service",
			Parameters: paging(Parameter{
				Name: "unread", In: "query", Description: "Only those that are unread.", Schema: map[string]any{"type": "boolean", "default": false},
			}),
			Status: http.StatusOK, Answer: "Inbox",
		},
		{
			Method: http.MethodPost, Path: "/api/notifications/{id}/read", Tag: "Notifications", Summary: "Mark one as read", Access: SignedIn, Service: "notification-service",
			Parameters: []Parameter{pathID("the notification")}, Status: http.StatusNoContent,
		},
		{
			Method: http.MethodPost, Path: "/api/notifications/read", Tag: "Notifications", Summary: "Mark all as read", Access: SignedIn, Service: "notification-service",
			Status: http.StatusNoContent,
		},

		{
			Method: http.MethodGet, Path: "/health", Tag: "About", Summary: "What this is and how it is", Access: Anyone,
			Status: http.StatusOK, Answer: "Health",
		},
		{
			Method: http.MethodGet, Path: "/.well-known/jwks.json", Tag: "About", Summary: "The keys that verify access tokens", Access: Anyone,
			Description: "Of those in use, next and former, all that are public (RFC 7517). Keep them for 5 minutes.", Status: http.StatusOK, Answer: "Keys",
		},
		{
			Method: http.MethodGet, Path: "/openapi.json", Tag: "About", Summary: "This description, for programs", Access: Anyone, Status: http.StatusOK,
		},
		{
			Method: http.MethodGet, Path: "/docs", Tag: "About", Summary: "This description, for people", Access: Anyone, Status: http.StatusOK,
		},
	}
}

func move(verb, summary, description string) Operation {
	return Operation{
		Method: http.MethodPost, Path: "/api/orders/{id}/" + verb, Tag: "Orders", Summary: summary, Description: description,
		Access: Admins, Service: "order-service",
		Parameters: []Parameter{pathID("the order"), ifMatch}, Status: http.StatusOK, Answer: "Order", Headers: []string{"ETag"},
		Errors: map[int]string{http.StatusConflict: moved, http.StatusPreconditionFailed: otherVersion},
	}
}
