package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/util/cert"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/namespace"
	"platform.example/infra/policy"
	"platform.example/infra/stack"
)

const (
	clusterKind  = "postgresql.cnpg.io/v1:Cluster"
	scheduleKind = "postgresql.cnpg.io/v1:ScheduledBackup"
)

// updated is a first update of the stack local on the cluster of api with these settings of Postgres, empty for none.
func updated(t *testing.T, api *clustertest.API, postgres string) *engine {
	t.Helper()
	values := on(t, api)
	if postgres != "" {
		values["platform:postgres"] = postgres
	}
	engine := &engine{}
	if err := up(t, stack.Local, values, engine); err != nil {
		t.Fatal(err)
	}
	return engine
}

func TestPostgresIsAClusterOfTheOperator(t *testing.T) {
	engine := local(t)
	postgres := engine.ofType(clusterKind)["postgres-1"]
	for _, want := range []struct {
		path  []any
		value any
	}{
		{[]any{"metadata", "name"}, "postgres-1"},
		{[]any{"metadata", "annotations", namespace.StackAnnotation}, "local"},
		{[]any{"spec", "instances"}, 1},
		{[]any{"spec", "enablePDB"}, false},
		{[]any{"spec", "storage", "size"}, "2048Mi"},
		{[]any{"spec", "resources", "limits", "memory"}, "512Mi"},
		{[]any{"spec", "superuserSecret", "name"}, "postgres-superuser"},
		{[]any{"spec", "certificates", "serverTLSSecret"}, "postgres-certificate"},
		{[]any{"spec", "certificates", "serverCASecret"}, "postgres-authority"},
		{[]any{"spec", "postgresql", "parameters", "max_connections"}, "239"},
		{[]any{"spec", "postgresql", "synchronous"}, nil},
		{[]any{"spec", "inheritedMetadata", "labels", "platform.example/of"}, "postgres"},
		{[]any{"spec", "priorityClassName"}, "platform-data"},
		{[]any{"spec", "bootstrap", "initdb", "dataChecksums"}, true},
		{[]any{"spec", "bootstrap", "initdb", "import"}, nil},
		{[]any{"spec", "backup", "barmanObjectStore", "destinationPath"}, "s3://postgres"},
		{[]any{"spec", "backup", "barmanObjectStore", "serverName"}, "postgres-1"},
		{[]any{"spec", "backup", "barmanObjectStore", "endpointURL"}, "https://object-store.data.svc:7070"},
		{[]any{"spec", "backup", "barmanObjectStore", "s3Credentials", "accessKeyId", "name"}, "backup"},
	} {
		if got := postgres.at(want.path...); fmt.Sprint(got) != fmt.Sprint(want.value) {
			t.Errorf("%v is %v, want %v", want.path, got, want.value)
		}
	}
	if rules := postgres.at("spec", "postgresql", "pg_hba"); !reflect.DeepEqual(rules, []any{"hostssl all all all scram-sha-256", "host all all all reject"}) {
		t.Errorf("it accepts %v, want passwords over TLS", rules)
	}
	if ignored := engine.ignored(clusterKind, "postgres-1"); !slices.Contains(ignored, "spec.bootstrap") {
		t.Errorf("a later update bootstraps it again: it ignores changes of %v", ignored)
	}
	selector := engine.ofType("core/v1:Service")["postgres"].at("spec", "selector")
	if !reflect.DeepEqual(selector, map[string]any{"cnpg.io/cluster": "postgres-1", "cnpg.io/instanceRole": "primary"}) {
		t.Errorf("clients reach %v, want the primary", selector)
	}
	if schedule := engine.ofType(scheduleKind)["postgres-1-nightly"]; schedule.at("spec", "cluster", "name") != "postgres-1" || schedule.at("spec", "immediate") != true {
		t.Errorf("the backups: %v", schedule)
	}
	if superuser := engine.ofType("core/v1:Secret")["postgres-admin"]; superuser.at("stringData", "username") != "postgres" ||
		superuser.at("stringData", "password") != valueOf("postgresAdminPassword") {
		t.Error("the Secret of the superuser has not its password")
	}
	for kind, name := range map[string]string{"apps/v1:StatefulSet": "postgres", "postgresql.cnpg.io/v1:Cluster": "postgres-2"} {
		if _, exists := engine.ofType(kind)[name]; exists {
			t.Errorf("there is a %s %s", kind, name)
		}
	}
}

// To delete a definition deletes the databases of all stacks and teams of the cluster.
func TestDefinitionsOfTheOperatorOutliveTheStack(t *testing.T) {
	found := map[string]bool{}
	for _, created := range local(t).registered {
		if created.TypeToken != "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition" {
			continue
		}
		found[created.Name] = true
		if !created.RegisterRPC.GetRetainOnDelete() {
			t.Errorf("%s is deleted with the stack", created.Name)
		}
	}
	for _, kind := range []string{"clusters", "backups", "scheduledbackups"} {
		if !found[kind+".postgresql.cnpg.io"] {
			t.Errorf("there is no definition of %s in %v", kind, found)
		}
	}
}

func TestReplicationAndBackupsOfPostgres(t *testing.T) {
	for _, test := range []struct {
		name, settings string
		instances      int
		synchronous    bool
		bucket         any
		objectStore    bool
	}{
		{"local", "", 1, false, "s3://postgres", true},
		{"local", `{"instances":3}`, 3, true, "s3://postgres", true},
		{"staging", "", 2, false, nil, false},
		{"production", "", 3, true, "s3://example-backups/platform", false},
	} {
		t.Run(test.name+test.settings, func(t *testing.T) {
			objects := map[string]manifest{}
			if test.settings != "" {
				engine := updated(t, clustertest.New(t, "this"), test.settings)
				objects["Cluster postgres-1"] = engine.ofType(clusterKind)["postgres-1"]
				objects["StatefulSet object-store"] = engine.ofType("apps/v1:StatefulSet")["object-store"]
			} else {
				for _, object := range rendered(t, test.name, "") {
					objects[fmt.Sprint(object["kind"], " ", manifest(object).at("metadata", "name"))] = object
				}
			}
			postgres := objects["Cluster postgres-1"]
			if got := postgres.at("spec", "instances"); fmt.Sprint(got) != fmt.Sprint(test.instances) {
				t.Errorf("%v instances, want %d", got, test.instances)
			}
			if budget := postgres.at("spec", "enablePDB"); budget != (test.instances > 1) {
				t.Errorf("it has a disruption budget: %v", budget)
			}
			if period := postgres.at("spec", "probes", "startup", "periodSeconds"); fmt.Sprint(period) != "1" {
				t.Errorf("a starting server is probed each %v s", period)
			}
			if at := postgres.at("spec", "probes", "liveness", "terminationGracePeriodSeconds"); (fmt.Sprint(at) == "5") != (test.instances > 1) {
				t.Errorf("a primary without a network is killed after %v s", at)
			}
			durability := postgres.at("spec", "postgresql", "synchronous", "dataDurability")
			if (durability == "required") != test.synchronous {
				t.Errorf("a commit waits for a standby: %v", durability)
			}
			if got := postgres.at("spec", "backup", "barmanObjectStore", "destinationPath"); got != test.bucket {
				t.Errorf("the backups are in %v, want %v", got, test.bucket)
			}
			if runs := objects["StatefulSet object-store"] != nil; runs != test.objectStore {
				t.Errorf("an object store runs: %v", runs)
			}
			credentials := manifest{"of": postgres.at("spec", "backup", "barmanObjectStore", "s3Credentials")}
			if has := credentials.at("of", "accessKeyId", "key") == "id"; has != test.objectStore {
				t.Errorf("the credentials are %v", credentials)
			}
		})
	}
}

func TestRestoredClusterOfPostgres(t *testing.T) {
	for _, test := range []struct {
		name, settings, serves string
		clusters, hibernate    []string
	}{
		{"beside the one that serves", `{"beside":[2],"restore":{"cluster":2,"from":1,"at":"2026-11-28T15:03:00+01:00"}}`, "postgres-1", []string{"postgres-1", "postgres-2"}, nil},
		{"that serves beside the former one", `{"cluster":2,"beside":[1],"restore":{"cluster":2,"from":1,"at":"2026-11-28T15:03:00+01:00"}}`, "postgres-2",
			[]string{"postgres-1", "postgres-2"}, []string{"postgres-1"}},
		{"instead of it", `{"cluster":2,"restore":{"cluster":2,"from":1,"at":"2026-11-28T15:03:00+01:00"}}`, "postgres-2", []string{"postgres-2"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			engine := updated(t, clustertest.New(t, "this"), test.settings)
			created, schedules := engine.ofType(clusterKind), engine.ofType(scheduleKind)
			if len(created) != len(test.clusters) || len(schedules) != len(test.clusters) {
				t.Errorf("there are %d clusters and %d schedules of backups, want %v", len(created), len(schedules), test.clusters)
			}
			for name, cluster := range created {
				hibernates := cluster.at("metadata", "annotations", "cnpg.io/hibernation") == "on"
				if !slices.Contains(test.clusters, name) || hibernates != slices.Contains(test.hibernate, name) {
					t.Errorf("%s hibernates: %t, want %v of %v", name, hibernates, test.hibernate, test.clusters)
				}
			}
			restored := created["postgres-2"]
			for _, want := range []struct {
				path  []any
				value string
			}{
				{[]any{"spec", "bootstrap", "recovery", "source"}, "origin"},
				{[]any{"spec", "bootstrap", "recovery", "recoveryTarget", "targetTime"}, "2026-11-28 14:03:00.000000+00"},
				{[]any{"spec", "externalClusters", 0, "name"}, "origin"},
				{[]any{"spec", "externalClusters", 0, "barmanObjectStore", "serverName"}, "postgres-1"},
				{[]any{"spec", "backup", "barmanObjectStore", "serverName"}, "postgres-2"},
			} {
				if got := restored.at(want.path...); got != want.value {
					t.Errorf("%v is %v, want %s", want.path, got, want.value)
				}
			}
			if got := engine.ofType("core/v1:Service")["postgres"].at("spec", "selector", "cnpg.io/cluster"); got != test.serves {
				t.Errorf("clients reach %v, want %s", got, test.serves)
			}
		})
	}
}

// The server of an earlier version of the platform is a StatefulSet.
func TestDataOfAFormerServerIsImported(t *testing.T) {
	former := func(owner string) *clustertest.API {
		api := clustertest.New(t, "this")
		api.Answer("/apis/apps/v1/namespaces/data/statefulsets/postgres", `{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "postgres", `+
			`"namespace": "data", "uid": "1", "annotations": {"`+namespace.StackAnnotation+`": "`+owner+`"}}}`)
		return api
	}
	engine := updated(t, former("local"), "")
	postgres := engine.ofType(clusterKind)["postgres-1"]
	if got := postgres.at("spec", "bootstrap", "initdb", "import", "databases"); !reflect.DeepEqual(got, []any{"users", "orders", "notifications"}) {
		t.Errorf("it imports the databases %v", got)
	}
	if got := postgres.at("spec", "externalClusters", 0, "connectionParameters", "host"); got != "postgres.data.svc" {
		t.Errorf("it imports from %v", got)
	}
	if dependencies := engine.dependencies(t, clusterKind+" postgres-1"); !slices.ContainsFunc(dependencies, func(urn string) bool { return strings.HasSuffix(urn, "::postgres-freeze") }) {
		t.Errorf("the import does not wait until the former server refuses writes: %v", dependencies)
	}
	freeze := engine.ofType("batch/v1:Job")["postgres-freeze"]
	given := map[string]bool{}
	variables, _ := freeze.at("spec", "template", "spec", "containers", 0, "env").([]any)
	for i := range variables {
		given[fmt.Sprint(freeze.at("spec", "template", "spec", "containers", 0, "env", i, "name"))] = true
	}
	for _, variable := range []string{"PGHOST", "PASSWORD_FILE", "PGSSLMODE", "PGSSLROOTCERT"} {
		if !given[variable] {
			t.Errorf("freeze.sh does not get %s", variable)
		}
	}

	for about, api := range map[string]*clustertest.API{"none": clustertest.New(t, "this"), "that of another owner": former("another")} {
		engine := updated(t, api, "")
		if got := engine.ofType(clusterKind)["postgres-1"].at("spec", "bootstrap", "initdb", "import"); got != nil {
			t.Errorf("%s: it imports %v", about, got)
		}
		if _, exists := engine.ofType("batch/v1:Job")["postgres-freeze"]; exists {
			t.Errorf("%s: it is frozen", about)
		}
	}
}

func TestPostgresHasARoleAtTheObjectStore(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/backups"
	values, engine := on(t, clustertest.New(t, "this")), &engine{}
	values["platform:backup"] = `{"bucket":"s3://backups/shop","endpoint":"https://objects.example.com","serviceAccountAnnotations":{"eks.amazonaws.com/role-arn":"` + role + `"}}`
	if err := up(t, stack.Local, values, engine); err != nil {
		t.Fatal(err)
	}
	postgres := engine.ofType(clusterKind)["postgres-1"]
	if got := postgres.at("spec", "serviceAccountTemplate", "metadata", "annotations", "eks.amazonaws.com/role-arn"); got != role {
		t.Errorf("its ServiceAccount has the role %v", got)
	}
	if got := local(t).ofType(clusterKind)["postgres-1"].at("spec", "serviceAccountTemplate"); got != nil {
		t.Errorf("without the setting, its ServiceAccount is %v", got)
	}
}

// Each major version has an image and an archive of its own. The scripts of the Jobs run in the image of version 15.
func TestVersionOfPostgres(t *testing.T) {
	engine := updated(t, clustertest.New(t, "this"), `{"version":"17","cluster":3,"restore":{"cluster":3,"from":2}}`)
	postgres := engine.ofType(clusterKind)["postgres-3"]
	for _, want := range []struct {
		path []any
		text string
	}{
		{[]any{"spec", "imageName"}, "ghcr.io/cloudnative-pg/postgresql:17."},
		{[]any{"spec", "backup", "barmanObjectStore", "serverName"}, "postgres-3-17"},
		{[]any{"spec", "externalClusters", 0, "barmanObjectStore", "serverName"}, "postgres-2-17"},
	} {
		if got := fmt.Sprint(postgres.at(want.path...)); !strings.HasPrefix(got, want.text) {
			t.Errorf("%v is %v, want %v", want.path, got, want.text)
		}
	}
	for name, job := range engine.ofType("batch/v1:Job") {
		if image := fmt.Sprint(job.at("spec", "template", "spec", "containers", 0, "image")); strings.Contains(image, "postgresql:17.") {
			t.Errorf("Job %s runs in %s", name, image)
		}
	}
}

// With a pooler, the services connect to it, while migrations and the set-up connect to the primary. It follows a restore to another cluster.
func TestPoolerOfPostgres(t *testing.T) {
	engine := updated(t, clustertest.New(t, "this"), `{"pooler":2,"cluster":3,"restore":{"cluster":3,"from":2}}`)
	pooler := engine.ofType("postgresql.cnpg.io/v1:Pooler")["postgres-3-pooler"]
	pod := []any{"spec", "template", "spec"}
	parameters := []any{"spec", "pgbouncer", "parameters"}
	for _, want := range []struct {
		path  []any
		value any
	}{
		{[]any{"metadata", "annotations", namespace.StackAnnotation}, "local"},
		{[]any{"spec", "cluster", "name"}, "postgres-3"},
		{[]any{"spec", "type"}, "rw"},
		{[]any{"spec", "instances"}, 2},
		{[]any{"spec", "pgbouncer", "image"}, "ghcr.io/cloudnative-pg/pgbouncer:1.25.1"},
		{[]any{"spec", "pgbouncer", "poolMode"}, "transaction"},
		{append(parameters, "client_tls_sslmode"), "require"},
		{append(parameters, "max_client_conn"), "150"},  // 3 services × 50
		{append(parameters, "default_pool_size"), "8"},  // 8 × (2 replicas + 1 surge) for 2 instances and 1 surge
		{append(parameters, "max_db_connections"), "8"}, // also while a service has two roles
		{[]any{"spec", "template", "metadata", "labels", "platform.example/of"}, "postgres-pooler"},
		{[]any{"spec", "template", "metadata", "annotations", "prometheus.io/port"}, "9127"},
		{append(pod, "priorityClassName"), "platform-data"},
		{append(pod, "initContainers", 0, "name"), "bootstrap-controller"},
		{append(pod, "initContainers", 0, "resources", "limits", "memory"), "192Mi"},
		{append(pod, "containers", 0, "name"), "pgbouncer"},
		{append(pod, "containers", 0, "resources", "limits", "memory"), "192Mi"},
		{append(pod, "topologySpreadConstraints", 1, "labelSelector", "matchLabels", "cnpg.io/poolerName"), "postgres-3-pooler"},
	} {
		if got := pooler.at(want.path...); fmt.Sprint(got) != fmt.Sprint(want.value) {
			t.Errorf("%v is %v, want %v", want.path, got, want.value)
		}
	}
	selector := map[string]any{"cnpg.io/poolerName": "postgres-3-pooler"}
	if got := engine.ofType("core/v1:Service")["postgres-pooler"].at("spec", "selector"); !reflect.DeepEqual(got, selector) {
		t.Errorf("clients reach %v", got)
	}
	if got := engine.ofType("policy/v1:PodDisruptionBudget")["postgres-pooler"].at("spec", "selector", "matchLabels"); !reflect.DeepEqual(got, selector) {
		t.Errorf("a drain evicts %v one after the other", got)
	}
	content, _ := engine.ofType("core/v1:Secret")["postgres-certificate"].at("stringData", "tls.crt").(string)
	served, err := cert.ParseCertsPEM([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"postgres.data.svc", "postgres-pooler.data.svc"} {
		if err := served[0].VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if authority, _ := pooler.at("metadata", "annotations", "platform.example/authority").(string); len(authority) != 64 {
		t.Errorf("a new authority doesn't change the pooler, which then doesn't read it: %q", authority)
	}
	for service, job := range map[string]string{"user-service": "user-service-migrate-", "order-service": "order-service-migrate-"} {
		if got := engine.ofType("core/v1:ConfigMap")[service+"-blue"].at("data", "POSTGRES_HOST"); got != "postgres-pooler.data.svc" {
			t.Errorf("%s connects to %v", service, got)
		}
		for name, migration := range engine.ofType("batch/v1:Job") {
			variables := fmt.Sprint(migration.at("spec", "template", "spec", "containers", 0, "env"))
			if strings.HasPrefix(name, job) && !strings.Contains(variables, "map[name:POSTGRES_HOST value:postgres.data.svc]") {
				t.Errorf("%s connects to the pooler: %s", name, variables)
			}
		}
	}
	for _, kind := range []string{"batch/v1:Job postgres-setup", "apps/v1:Deployment order-service-blue"} {
		if dependencies := engine.dependencies(t, kind); !slices.ContainsFunc(dependencies, func(urn string) bool {
			return strings.HasSuffix(urn, "::postgres-pooler") || strings.HasSuffix(urn, "::postgres-setup")
		}) {
			t.Errorf("%s does not wait for the pooler: %v", kind, dependencies)
		}
	}

	one := updated(t, clustertest.New(t, "this"), `{"pooler":1}`)
	if _, exists := one.ofType("policy/v1:PodDisruptionBudget")["postgres-pooler"]; exists {
		t.Error("the only instance can't be evicted")
	}
	for _, created := range local(t).registered {
		if strings.Contains(created.Name, "pooler") && created.Name != "poolers.postgresql.cnpg.io" && created.TypeToken != "kubernetes:core/v1:Service" {
			t.Errorf("without the setting, there is %s", created.Name)
		}
	}
	services := local(t).ofType("core/v1:Service")
	if got := services["postgres-pooler"].at("spec", "selector"); !reflect.DeepEqual(got, services["postgres"].at("spec", "selector")) {
		t.Errorf("a version that was released with the pooler reaches %v, want the primary", got)
	}
	if env := fmt.Sprint(local(t).ofType("batch/v1:Job")); strings.Contains(env, "POSTGRES_HOST") {
		t.Error("without the setting, migrations have a host of their own")
	}
}

func TestPoolerPassesThePolicy(t *testing.T) {
	production, err := os.ReadFile("../Pulumi.production.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "Pulumi.production.yaml")
	writeFile(t, file, string(production)+"  platform:postgres: {pooler: 2}\n")
	objects, err := render("..", string(stack.Production), file)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(objects, func(o object) bool { return o["kind"] == "Pooler" }) {
		t.Fatal("there is no pooler")
	}
	for _, finding := range policy.Check(stack.Production, objects) {
		t.Error(finding)
	}
}
