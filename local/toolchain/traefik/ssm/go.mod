// The client of AWS Systems Manager, reduced to what Traefik's provider for Amazon ECS needs to compile.
module github.com/aws/aws-sdk-go-v2/service/ssm

go 1.24
