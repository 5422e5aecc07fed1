// A rate-limit service of grpc-go with the messages of Envoy's own API: the judge of what the proxy
// asks. It counts each descriptor up to the limit that comes with it, without ever forgetting, and
// prints what it was asked as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
)

type service struct {
	pb.UnimplementedRateLimitServiceServer
	mutex sync.Mutex
	seen  map[string]uint32
}

func (s *service) ShouldRateLimit(_ context.Context, in *pb.RateLimitRequest) (*pb.RateLimitResponse, error) {
	asked, err := protojson.Marshal(in)
	if err != nil {
		return nil, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	fmt.Printf("{\"asked\": %s}\n", asked)
	answer := &pb.RateLimitResponse{OverallCode: pb.RateLimitResponse_OK}
	for _, descriptor := range in.Descriptors {
		name := fmt.Sprint(in.Domain, descriptor.Entries)
		limit := descriptor.GetLimit()
		status := &pb.RateLimitResponse_DescriptorStatus{
			Code: pb.RateLimitResponse_OK,
			CurrentLimit: &pb.RateLimitResponse_RateLimit{
				Name:            name,
				RequestsPerUnit: limit.GetRequestsPerUnit(),
				Unit:            pb.RateLimitResponse_RateLimit_Unit(limit.GetUnit()),
			},
			DurationUntilReset: durationpb.New(42 * time.Second),
		}
		s.seen[name]++
		if s.seen[name] > limit.GetRequestsPerUnit() {
			status.Code = pb.RateLimitResponse_OVER_LIMIT
			answer.OverallCode = pb.RateLimitResponse_OVER_LIMIT
			answer.ResponseHeadersToAdd = []*core.HeaderValue{{Key: "x-ratelimit-by", Value: "grpc-go"}}
		}
		answer.Statuses = append(answer.Statuses, status)
	}
	return answer, nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	line, _ := json.Marshal(map[string]any{"kind": "listening", "port": port})
	fmt.Println(string(line))
	server := grpc.NewServer()
	pb.RegisterRateLimitServiceServer(server, &service{seen: map[string]uint32{}})
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
