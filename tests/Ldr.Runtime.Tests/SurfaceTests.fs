/// The public members of Ldr.Runtime: a change of them is seen.
module Ldr.Runtime.Tests.SurfaceTests

open System
open System.IO
open System.Reflection
open Expecto
open Ldr.Runtime.Geometry

let private flags =
    BindingFlags.Public
    ||| BindingFlags.Instance
    ||| BindingFlags.Static
    ||| BindingFlags.DeclaredOnly

let rec private nameOf (t: Type) : string =
    if t.IsGenericType then
        let own = t.Name.Substring(0, t.Name.IndexOf '`')
        let arguments = t.GetGenericArguments() |> Array.map nameOf |> String.concat ", "
        $"{own}<{arguments}>"
    elif t.IsArray then
        nameOf (nonNull (t.GetElementType())) + "[]"
    elif t.IsByRef then
        "ref " + nameOf (nonNull (t.GetElementType()))
    elif t.IsNested then
        $"{nameOf (nonNull t.DeclaringType)}.{t.Name}"
    else
        t.Name

let private parameters (method: MethodBase) =
    method.GetParameters()
    |> Array.map (fun p -> $"{nameOf p.ParameterType} {p.Name}")
    |> String.concat ", "

let private members (t: Type) =
    [
        for member' in t.GetMembers flags do
            match member' with
            | :? ConstructorInfo as c -> $"{nameOf t}({parameters c})"
            | :? MethodInfo as m when not m.IsSpecialName ->
                let kind = if m.IsStatic then "static " else ""
                $"{nameOf t}.{kind}{m.Name}({parameters m}): {nameOf m.ReturnType}"
            | :? PropertyInfo as p ->
                let set =
                    if p.CanWrite && (nonNull p.SetMethod).IsPublic then
                        " set"
                    else
                        ""

                $"{nameOf t}.{p.Name}: {nameOf p.PropertyType}{set}"
            | :? FieldInfo as f when not f.IsSpecialName -> $"{nameOf t}.{f.Name}: {nameOf f.FieldType}"
            | _ -> ()
    ]

let private surface () =
    [
        // What the compiler makes of extension members has names of its own.
        for t in
            typeof<Volume>.Assembly.GetExportedTypes()
            |> Array.filter (fun t -> not (t.FullName.Contains '<')) do
            let kind =
                if t.IsEnum then "enum"
                elif t.IsValueType then "struct"
                elif t.IsInterface then "interface"
                elif t.IsAbstract && t.IsSealed then "static class"
                elif t.IsSealed then "sealed class"
                else "class"

            $"{kind} {nameOf t}"
            yield! members t
    ]
    |> List.sort

/// Written when the environment variable LDR_ACCEPT_SURFACE is set: then look at the difference, and commit it.
let private file = Path.Combine(__SOURCE_DIRECTORY__, "surface.txt")

let tests =
    testList
        "surface"
        [
            testCase "the public members are those of surface.txt" (fun () ->
                let now = surface ()

                if Environment.GetEnvironmentVariable "LDR_ACCEPT_SURFACE" |> isNull |> not then
                    File.WriteAllLines(file, now)

                let known = File.ReadAllLines file |> List.ofArray
                let only a b = List.except b a |> String.concat "\n"

                if now <> known then
                    failtestf
                        "new:\n%s\ngone:\n%s\nLDR_ACCEPT_SURFACE=1 ./test --filter ldr/runtime/surface accepts it"
                        (only now known)
                        (only known now))
            testCase "no type of F# is in it" (fun () ->
                for line in surface () do
                    Expect.isFalse (line.Contains "FSharp") line)
        ]
