package server

import (
	"fmt"
	"strconv"
	"strings"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// Folders and files in the pods of a Redis.
const (
	RedisFolder  = "/etc/redis"
	RedisSocket  = "/run/redis"
	AppendFolder = "/var/lib/redis" // holds the append-only file

	// SentinelFolder has the configuration of a Sentinel, which rewrites it, and its socket.
	SentinelFolder = "/run/sentinel"

	UsersFile = "users.acl"
)

// Redis is the cache or the stream.
type Redis struct {
	Instances []string // DNS names
	Settings  string   // without listeners and users
}

// User is a user of a Redis.
type User struct {
	Name   string
	Access catalog.Access
}

// Administrator is the user of probes, set-up and people.
var Administrator = User{"admin", catalog.Access{Keys: []string{"*"}, Commands: []string{"@all"}}}

// Exporter is the user who sees only statistics.
var Exporter = User{Monitor, catalog.Access{Commands: []string{
	"ping", "info", "config|get", "slowlog|len", "slowlog|get", "latency|latest", "client|setname",
}}}

// NobodyElse is the first line of an ACL file. It disables the default user, so that unauthenticated clients can do nothing. The user
// keeps all permissions, because Redis 7 replays its append-only file as this user: it would skip, with only an error in its log, each
// transaction that the user isn't permitted, such as any script with two writes.
const NobodyElse = "user default off resetpass allkeys allchannels +@all\n"

// Line is the user's line in the ACL file. It contains only hashes of the passwords.
func (u User) Line(passwords string) string {
	words := []string{"user", u.Name, "on"}
	for password := range strings.SplitSeq(passwords, ",") {
		words = append(words, "#"+Hash(password))
	}
	return strings.Join(append(words, u.Access.Rules()), " ") + "\n"
}

// Answering is a probe. It reads the password each time, since the password may have been rotated.
func Answering(passwords, socket string) string {
	return `test "$(REDISCLI_AUTH=$(cut -d, -f1 ` + passwords + "/" + PasswordFile + `) ` +
		`redis-cli -s ` + socket + `/redis.sock --user ` + Administrator.Name + ` ping)" = PONG`
}

// Conf is redis.conf.
func (r Redis) Conf() string {
	lines := []string{
		"bind * -::*", "port 0", fmt.Sprintf("tls-port %d", network.RedisPort),
		"tls-cert-file " + CertificateFolder + "/tls.crt", "tls-key-file " + CertificateFolder + "/tls.key",
		"tls-auth-clients no", // clients authenticate by password
		"unixsocket " + RedisSocket + "/redis.sock", "unixsocketperm 700",
		"aclfile " + AdminFolder + "/" + UsersFile,
		`save ""`,
	}
	return strings.Join(lines, "\n") + "\n" + r.Settings
}

// Environment is the environment of the scripts of several instances.
func (r Redis) Environment() map[string]string {
	return map[string]string{
		"CONFIG": RedisFolder, "USERS": AdminFolder + "/" + UsersFile, "SENTINEL": SentinelFolder, "INSTANCES": strings.Join(r.Instances, " "),
		"PORT": strconv.Itoa(network.RedisPort), "SENTINEL_PORT": strconv.Itoa(network.SentinelPort),
	}
}
