using System.Diagnostics.CodeAnalysis;

namespace Ldr.Runtime.Formats;

/// <summary>The checked content of a safetensors file.</summary>
public sealed class SafetensorsFile
{
    private readonly Dictionary<string, SafeTensor> byName;

    internal SafetensorsFile(IReadOnlyDictionary<string, string> metadata, IReadOnlyList<SafeTensor> tensors)
    {
        Metadata = metadata;
        Tensors = tensors;
        byName = tensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
    }

    /// <summary>The texts under <c>__metadata__</c>; none when the file has no such entry.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The tensors, in the order of their bytes in the file.</summary>
    public IReadOnlyList<SafeTensor> Tensors { get; }

    /// <summary>Finds a tensor by its name.</summary>
    public bool TryGet(string name, [NotNullWhen(true)] out SafeTensor? tensor) => byName.TryGetValue(name, out tensor);
}
