// Package data is the platform's stores: Postgres and Redis in the cluster, each behind an Endpoint.
package data

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// Endpoint is all that a service knows of a store, wherever the store runs.
type Endpoint struct {
	Host     string
	Port     int
	Password pulumi.StringOutput // the service's own, secret
	Ready    pulumi.Resource     // what must be there before the service starts
}

// user is the owner of the stores' processes and files, in the images of both.
const user = 999
