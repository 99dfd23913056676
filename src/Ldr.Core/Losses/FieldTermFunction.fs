namespace Ldr

open System.Collections.Generic
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Training
open Ldr.Runtime.Transforms

#nowarn "9" // Kernels work on the tensors' own memory.

/// A mean over a field that has kernels of its own, without second derivatives.
type internal FieldTerm =
    /// `Regularity.smoothness`.
    | SmoothnessTerm
    /// `Regularity.bending`.
    | BendingTerm
    /// `Regularity.logJacobian`.
    | LogJacobianTerm

/// A term of a field [N, 3, Z, Y, X] by the kernels of `Ldr.Runtime`; arguments: the term, the field. Its gradient has no history.
[<Sealed>]
type internal FieldTermFunction() =
    inherit torch.autograd.SingleTensorFunction<FieldTermFunction>()

    /// Where each sample's field starts.
    static let samples (field: torch.Tensor) =
        let length = 3 * int (TensorMemory.grid field).Count

        [
            for sample in 0 .. int field.shape[0] - 1 -> fun start -> NativePtr.add start (sample * length)
        ]

    /// How many planes it has.
    static let planes (field: torch.Tensor) = int (3L * field.shape[0])

    static let mean term (field: torch.Tensor) : float =
        let start, threads = TensorMemory.start field, torch.get_num_threads ()

        match term with
        | SmoothnessTerm -> Smoothness.Mean(start, planes field, TensorMemory.size field, threads)
        | BendingTerm -> Bending.Mean(start, planes field, TensorMemory.size field, threads)
        | LogJacobianTerm ->
            let grid = TensorMemory.grid field

            samples field
            |> List.averageBy (fun at -> LogJacobian.Mean(at start, grid, threads))

    /// A multiple of the gradient of `mean`.
    static let gradient term (factor: float) (field: torch.Tensor) : torch.Tensor =
        let start, threads = TensorMemory.start field, torch.get_num_threads ()
        let count, size = planes field, TensorMemory.size field

        match term with
        | SmoothnessTerm ->
            let result = torch.empty_like field
            Smoothness.Gradient(start, count, size, factor, TensorMemory.start result, threads)
            result
        | BendingTerm ->
            let result = torch.empty_like field
            Bending.Gradient(start, count, size, factor, TensorMemory.start result, threads)
            result
        | LogJacobianTerm ->
            let result = torch.zeros_like field
            let grid, target = TensorMemory.grid field, TensorMemory.start result
            let own = samples field

            for at in own do
                LogJacobian.AddGradient(at start, grid, factor / float own.Length, at target, threads)

            result

    override _.Name = nameof FieldTermFunction

    override _.forward(context, inputs) =
        let term = inputs[0] :?> FieldTerm
        let field = (inputs[1] :?> torch.Tensor).contiguous()
        context.save_data ("term", term)
        context.save_for_backward (List [ field ])
        torch.tensor (float32 (mean term field))

    override _.backward(context, gradientOfMean) =
        let field = context.get_saved_variables()[0]
        let term = context.get_data "term" :?> FieldTerm
        let result = gradient term (float (gradientOfMean.item<float32>())) field
        gradientOfMean.Dispose()
        field.Dispose()
        List [ Unchecked.defaultof<torch.Tensor>; result ]
