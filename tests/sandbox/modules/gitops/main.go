// What GitOps tools make of objects: Argo CD by Lua scripts (health, the discovery of actions, and an action), and both
// implementations of kstatus. Objects come as JSON on standard input, one after the other; one line of JSON is written for each.
//
//	gitops lua SCRIPT    what a Lua script returns
//	gitops kstatus       the status by sigs.k8s.io/cli-utils and by github.com/fluxcd/cli-utils
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
	kubernetes "sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gitops:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	var answer func(*unstructured.Unstructured) (any, error)
	switch {
	case len(arguments) == 2 && arguments[0] == "lua":
		script, err := os.ReadFile(arguments[1])
		if err != nil {
			return err
		}
		answer = func(object *unstructured.Unstructured) (any, error) { return returned(object, string(script)) }
	case len(arguments) == 1 && arguments[0] == "kstatus":
		answer = kstatus
	default:
		return errors.New("usage: gitops lua SCRIPT | gitops kstatus")
	}
	decoder, encoder := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var raw json.RawMessage
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// With whole numbers as whole numbers, as clients of Kubernetes decode.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return err
		}
		line, err := answer(object)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", object.GetNamespace(), object.GetName(), err)
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
}

func kstatus(object *unstructured.Unstructured) (any, error) {
	of, err := kubernetes.Compute(object)
	if err != nil {
		return nil, err
	}
	byFlux, err := flux.Compute(object)
	if err != nil {
		return nil, err
	}
	return map[string]string{"kubernetes": of.Status.String(), "flux": byFlux.Status.String(), "message": of.Message}, nil
}

// returned runs a script as Argo CD does without useOpenLibs: with the libraries for packages, the base and tables, for a
// second at most, and with the object as the global obj. (Argo CD's own os library, of time and date only, is left out:
// scripts get along without it.)
func returned(object *unstructured.Unstructured, script string) (any, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	libraries := []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}}
	for _, library := range libraries {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	limited, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(limited)
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	result := state.Get(-1)
	if result.Type() != lua.LTTable {
		return nil, fmt.Errorf("the script returns a %s and not a table", result.Type())
	}
	encoded, err := luajson.Encode(result)
	return json.RawMessage(encoded), err
}

func value(state *lua.LState, of any) lua.LValue {
	switch of := of.(type) {
	case bool:
		return lua.LBool(of)
	case float64:
		return lua.LNumber(of)
	case int64:
		return lua.LNumber(of)
	case string:
		return lua.LString(of)
	case []any:
		table := state.CreateTable(len(of), 0)
		for _, item := range of {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(of))
		for key, item := range of {
			table.RawSetH(lua.LString(key), value(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
