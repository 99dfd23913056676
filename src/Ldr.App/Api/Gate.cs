using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace Ldr.App.Api;

/// <summary>
/// Who may ask. Promises: nothing but <c>closed.html</c> and refusals is given without the token; a request that was meant for another host
/// (DNS rebinding), or that another site sends, is refused even with it; the page may load nothing from anywhere else.
/// </summary>
internal sealed class Gate(string token)
{
    /// <summary>
    /// Everything from here. NiiVue has its font as a data address; its decoders, and that of DICOM, are WebAssembly.
    /// </summary>
    public const string Policy =
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
        + "connect-src 'self' data:; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private readonly byte[] secret = Encoding.ASCII.GetBytes(token);
    private string[] hosts = [];
    private string cookie = string.Empty;

    /// <summary>A token that nobody guesses.</summary>
    public static string NewToken() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));

    /// <summary>Is told the port once it is known. Browsers share cookies among ports, so its name has it.</summary>
    public void Open(int port) => (hosts, cookie) = ([$"127.0.0.1:{port}", $"localhost:{port}"], $"ldr-app-{port}");

    /// <summary>Lets a request pass, or answers it.</summary>
    public async Task Check(HttpContext context, RequestDelegate next)
    {
        HttpRequest request = context.Request;
        SetHeaders(context.Response.Headers);
        string host = request.Host.Value ?? string.Empty;
        if (!hosts.Contains(host, StringComparer.Ordinal))
        {
            await Refuse(context, 421, "this is ldr-fs app; open the link that it printed").ConfigureAwait(false);
            return;
        }

        if (IsForeign(request, host))
        {
            await Refuse(context, 403, "another site asked for this").ConfigureAwait(false);
            return;
        }

        bool isPage = HttpMethods.IsGet(request.Method) && request.Path == "/";
        if (isPage && request.Query.TryGetValue("token", out Microsoft.Extensions.Primitives.StringValues given) && IsToken(given))
        {
            context.Response.Cookies.Append(
                cookie, token, new CookieOptions { HttpOnly = true, SameSite = SameSiteMode.Strict, Path = "/", IsEssential = true });
            await next(context).ConfigureAwait(false);
            return;
        }

        bool bearer = request.Headers.Authorization.ToString() is { Length: > 7 } words
            && words.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) && IsToken(words[7..]);
        if (!bearer && !IsToken(request.Cookies[cookie]))
        {
            await Closed(context, isPage).ConfigureAwait(false);
            return;
        }

        // A browser says where a change comes from; whoever says nothing must show the token itself.
        if (!bearer && !IsReading(request) && request.Headers.Origin.Count == 0 && request.Headers["Sec-Fetch-Site"] != "same-origin")
        {
            await Refuse(context, 403, "nobody said where this comes from").ConfigureAwait(false);
            return;
        }

        await next(context).ConfigureAwait(false);
    }

    /// <summary>Answers with a line.</summary>
    public static Task Refuse(HttpContext context, int status, string line)
    {
        context.Response.StatusCode = status;
        return context.Response.WriteAsJsonAsync(new Refusal(line), AppJson.Default.Refusal, "application/json", context.RequestAborted);
    }

    /// <summary>A text that the assembly carries.</summary>
    public static byte[] Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"the resource {name} is missing");
        byte[] bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }

    private static void SetHeaders(IHeaderDictionary headers)
    {
        headers.ContentSecurityPolicy = Policy;
        headers.XContentTypeOptions = "nosniff";
        headers.XFrameOptions = "DENY";
        headers.CacheControl = "no-store";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()";
    }

    private static bool IsReading(HttpRequest request) => HttpMethods.IsGet(request.Method) || HttpMethods.IsHead(request.Method);

    /// <summary>Whether a browser says that another site sent it. To follow a link to the page itself is allowed.</summary>
    private static bool IsForeign(HttpRequest request, string host)
    {
        if (request.Headers.Origin.Count > 0 && request.Headers.Origin != $"http://{host}")
        {
            return true;
        }

        string site = request.Headers["Sec-Fetch-Site"].ToString();
        bool follows = IsReading(request) && request.Headers["Sec-Fetch-Mode"] == "navigate" && request.Headers["Sec-Fetch-Dest"] == "document"
            && request.Path == "/";
        return site is "cross-site" or "same-site" && !follows;
    }

    private static async Task Closed(HttpContext context, bool isPage)
    {
        if (!isPage)
        {
            await Refuse(context, 401, "the token is missing or wrong; open the link that ldr-fs app printed").ConfigureAwait(false);
            return;
        }

        context.Response.StatusCode = 401;
        context.Response.ContentType = "text/html; charset=utf-8";
        await context.Response.Body.WriteAsync(Resource("closed.html"), context.RequestAborted).ConfigureAwait(false);
    }

    private bool IsToken(string? text) =>
        text is not null && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(text), secret);
}
