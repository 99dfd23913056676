namespace Ldr

open System
open System.Runtime.InteropServices
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Training

#nowarn "9" // Calls of a C library.

/// What is called of Open MPI, whose major versions 4 and 5 have one binary interface.
module private MpiCalls =
    [<Literal>]
    let Library = "libmpi.so.40"

    [<DllImport(Library)>]
    extern int MPI_Init_thread(nativeint argc, nativeint argv, int required, int& provided)

    [<DllImport(Library)>]
    extern int MPI_Comm_rank(nativeint communicator, int& rank)

    [<DllImport(Library)>]
    extern int MPI_Comm_size(nativeint communicator, int& size)

    [<DllImport(Library)>]
    extern int MPI_Send(
        nativeint buffer,
        int count,
        nativeint kind,
        int target,
        int tag,
        nativeint communicator
    )

    [<DllImport(Library)>]
    extern int MPI_Recv(
        nativeint buffer,
        int count,
        nativeint kind,
        int source,
        int tag,
        nativeint communicator,
        nativeint status
    )

    [<DllImport(Library)>]
    extern int MPI_Bcast(nativeint buffer, int count, nativeint kind, int root, nativeint communicator)

    [<DllImport(Library)>]
    extern int MPI_Allgather(
        nativeint own,
        int ownCount,
        nativeint ownKind,
        nativeint all,
        int count,
        nativeint kind,
        nativeint communicator
    )

    [<DllImport(Library)>]
    extern int MPI_Abort(nativeint communicator, int code)

    [<DllImport(Library)>]
    extern int MPI_Finalize()

    [<DllImport("libc")>]
    extern int setenv(string name, string value, int overwrite)

/// The ranks that `mpirun` or `srun` of Open MPI started.
[<Sealed>]
type internal OpenMpi private (world: nativeint, bytes: nativeint, floats: nativeint, rank: int, count: int) =
    inherit Ranks(rank, count)

    /// Numbers that go from rank to rank at a time: while one adds, the next one adds those before.
    static let piece = 65536

    static let tag = 1

    static let must (what: string) (code: int) =
        if code <> 0 then
            raise (InvalidOperationException $"{what} of MPI failed with code {code}")

    /// Every rank's bytes, as many of each.
    let gatherEqual (own: byte[]) : byte[] =
        let all = Array.zeroCreate<byte>(own.Length * count)

        if own.Length > 0 then
            use source = fixed own
            use target = fixed all

            MpiCalls.MPI_Allgather(
                NativePtr.toNativeInt source,
                own.Length,
                bytes,
                NativePtr.toNativeInt target,
                own.Length,
                bytes,
                world
            )
            |> must "MPI_Allgather"

        all

    override _.Gather said =
        let lengths =
            gatherEqual (BitConverter.GetBytes said.Length)
            |> Array.chunkBySize 4
            |> Array.map (fun four -> BitConverter.ToInt32(four, 0))

        let longest = Array.max lengths
        let padded = Array.zeroCreate<byte> longest
        Array.blit said 0 padded 0 said.Length
        let all = gatherEqual padded

        [
            for index, length in Array.indexed lengths -> Array.sub all (index * longest) length
        ]

    // Along the chain of ranks, piece by piece; the last one has the sum, and tells it to all.
    override _.Sum vectors =
        let length = vectors.Head.Length
        let sum = Array.zeroCreate<float32> length
        use start = fixed sum

        for first in 0..piece .. length - 1 do
            let size = min piece (length - first)
            let own = Span<float32>(sum, first, size)
            let place = NativePtr.toNativeInt (NativePtr.add start first)

            let added =
                if rank = 0 then
                    Span<float32>(vectors.Head, first, size).CopyTo own
                    vectors.Tail
                else
                    MpiCalls.MPI_Recv(place, size, floats, rank - 1, tag, world, 0n)
                    |> must "MPI_Recv"

                    vectors

            for vector in added do
                use from = fixed &vector[first]
                FieldSums.Add(from, NativePtr.add start first, nativeint size, torch.get_num_threads ())

            if rank < count - 1 then
                MpiCalls.MPI_Send(place, size, floats, rank + 1, tag, world) |> must "MPI_Send"

        MpiCalls.MPI_Bcast(NativePtr.toNativeInt start, length, floats, count - 1, world)
        |> must "MPI_Bcast"

        sum

    override _.Abort code =
        MpiCalls.MPI_Abort(world, code) |> ignore

    interface IDisposable with
        member _.Dispose() = MpiCalls.MPI_Finalize() |> ignore

    /// Joins the others; once in a process.
    static member Join() : OpenMpi =
        // Ranks that wait for others let them have the core.
        MpiCalls.setenv ("OMPI_MCA_mpi_yield_when_idle", "1", 0) |> ignore
        let library = NativeLibrary.Load MpiCalls.Library
        let handle name = NativeLibrary.GetExport(library, name)
        let world = handle "ompi_mpi_comm_world"
        let serialized = 2
        let mutable provided = 0
        let mutable rank = 0
        let mutable count = 0

        MpiCalls.MPI_Init_thread(0n, 0n, serialized, &provided)
        |> must "MPI_Init_thread"

        MpiCalls.MPI_Comm_rank(world, &rank) |> must "MPI_Comm_rank"
        MpiCalls.MPI_Comm_size(world, &count) |> must "MPI_Comm_size"
        new OpenMpi(world, handle "ompi_mpi_byte", handle "ompi_mpi_float", rank, count)

/// How the processes of a training find each other.
module MpiRanks =
    let private number (name: string) : int option =
        match Int32.TryParse(Environment.GetEnvironmentVariable name) with
        | true, value -> Some value
        | _ -> None

    /// How many processes of this training run on this machine; 1 where nobody says.
    let onThisMachine () : int =
        number "OMPI_COMM_WORLD_LOCAL_SIZE"
        |> Option.orElse (number "SLURM_NTASKS_PER_NODE")
        |> Option.defaultValue 1
        |> max 1

    let private join () : Result<Ranks, Error> =
        try
            Ok(OpenMpi.Join())
        with :? DllNotFoundException ->
            Error(
                BadInput
                    $"started by mpirun, but Open MPI's library {MpiCalls.Library} cannot be loaded; install Open MPI 4 or 5 (Debian: libopenmpi3)"
            )

    /// The ranks that `mpirun`, or `srun --mpi=pmix`, started this process with; by itself where there are no others. Several
    /// processes that Open MPI does not know of are bad input.
    let find () : Result<Ranks, Error> =
        let isPmix =
            not (String.IsNullOrEmpty(Environment.GetEnvironmentVariable "PMIX_RANK"))

        let bySlurm = number "SLURM_STEP_NUM_TASKS" |> Option.defaultValue 1

        match number "OMPI_COMM_WORLD_SIZE" with
        | Some count when count > 1 -> join ()
        | None when isPmix && bySlurm > 1 -> join ()
        | None when bySlurm > 1 || (number "PMI_SIZE" |> Option.exists (fun count -> count > 1)) ->
            Error(
                BadInput
                    "several processes of one training were started, and not by Open MPI; use mpirun of Open MPI, or srun --mpi=pmix"
            )
        | _ -> Ok Ranks.alone

    /// Leaves the others, at the end.
    let leave (ranks: Ranks) : unit =
        match box ranks with
        | :? IDisposable as joined -> joined.Dispose()
        | _ -> ()
