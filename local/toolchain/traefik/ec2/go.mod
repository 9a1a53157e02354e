// The client of Amazon EC2, reduced to what Traefik's provider for Amazon ECS needs to compile.
module github.com/aws/aws-sdk-go-v2/service/ec2

go 1.24
